"""${message}

Old code still runs while this does: add now, take away in the release after. Locks are short (4 s), the SQL is hand-written and stands
beside this file under the same name.
"""

from pathlib import Path

from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.get_bind().connection.cursor().execute(Path(__file__).with_suffix(".sql").read_text())
