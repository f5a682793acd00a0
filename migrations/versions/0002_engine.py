"""What the complete sync engine keeps: pieces, filters, held listings, one row a version's files, icons, hosts.

Files and icons are read again: nothing that was released stored them another way.
"""

from pathlib import Path

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.get_bind().connection.cursor().execute(Path(__file__).with_suffix(".sql").read_text())
