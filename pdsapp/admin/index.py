"""The address of the dashboard."""

from flask_admin import expose
from flask_admin.base import AdminIndexView

from ..web import access
from ..web.pages.dashboard import render_dashboard


class Index(AdminIndexView):
    """`/admin/`: the dashboard."""

    def __init__(self):
        super().__init__(name="Dashboard", endpoint="admin", url="/admin")
        self.static_folder = None  # none of Flask-Admin's own files is used

    def is_accessible(self) -> bool:
        """Whether somebody with a role is signed in."""
        return access.role() is not None

    @expose("/")
    def index(self):
        """The dashboard."""
        return render_dashboard()
