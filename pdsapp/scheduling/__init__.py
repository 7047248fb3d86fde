"""When twins are asked, and by whom: schedules' slots, their projection in Redis, scheduler and workers."""
