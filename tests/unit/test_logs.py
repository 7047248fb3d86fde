"""Logs: one line an event, no secret, no text."""

import logging

import structlog

from pdsapp import logs


def test_a_line_names_the_attempt_and_hides_what_must_not_be_logged(capsys):
    logs.configure()
    structlog.get_logger().info("asked", attempt="0190", api_key="sk-1", content="a post", prompt="…")
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert "attempt='0190'" in line
    assert "sk-1" not in line
    assert "a post" not in line


def test_a_crash_is_logged_with_its_traceback_and_on_one_line(capsys):
    logs.configure()
    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("somebody").exception("failed")
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert "Traceback" in line
    assert "ValueError: broken" in line


def test_nobody_adds_a_line_to_the_log_by_what_they_type(capsys):
    logs.configure()
    structlog.get_logger().info("asked", path="x\nlevel='error'\r\x1b[2J\u2028\x85")
    logging.getLogger("somebody").warning("no such page: %s", "x\nlevel='error'\r\x1b[2J")
    lines = capsys.readouterr().err
    assert lines.count("\n") == len(lines.splitlines()) == 2
    assert "\x1b" not in lines
