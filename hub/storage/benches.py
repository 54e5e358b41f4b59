"""Repository of what models cost on each hardware class.

Plain functions over one connection; the caller owns the transaction.
"""

from sqlalchemy import Connection, insert, select

from edge_agent.wire import codec
from edge_agent.wire.bench import BenchReport
from hub.storage.tables import BENCHES


def insert_bench(conn: Connection, report: BenchReport, now: float) -> bool:
    """Keep a report; false if it is there already."""
    same = (
        BENCHES.c.hardware == report.hardware,
        BENCHES.c.sha256 == report.sha256,
        BENCHES.c.at == report.at,
    )
    if conn.scalar(select(BENCHES.c.added_at).where(*same)) is not None:
        return False
    conn.execute(
        insert(BENCHES).values(
            hardware=report.hardware,
            sha256=report.sha256,
            at=report.at,
            added_at=now,
            body=codec.encode(report).decode(),
        )
    )
    return True


def newest_benches(conn: Connection, hardware: str = "") -> list[BenchReport]:
    """Return the newest report of each model on each hardware class ("": of all)."""
    query = select(BENCHES.c.body).order_by(
        BENCHES.c.hardware, BENCHES.c.sha256, BENCHES.c.at
    )
    if hardware:
        query = query.where(BENCHES.c.hardware == hardware)
    newest: dict[tuple[str, str], BenchReport] = {}
    for body in conn.scalars(query):
        report = codec.decode(body.encode(), BenchReport)
        newest[report.hardware, report.sha256] = report
    return list(newest.values())
