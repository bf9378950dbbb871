// The report of a rebuild as lines for people: what was found again, and everything that could not be read.
import type { RebuildReport, ReportList } from '../maintenance/rebuild-report.ts'
import { sizeText } from '../../protocol/host/size.ts'
import { tableLines } from '../../protocol/host/table.ts'
import { timeText } from './report-points.ts'

/** Rows of one list that are shown; the rest is counted and in `--json`. */
const SHOWN_ROWS_MAX = 100

const listed = <T>(
  title: string,
  list: ReportList<T>,
  heading: readonly string[],
  cells: (row: T) => readonly string[],
): string[] => {
  if (list.count === 0) return []
  const shown = list.rows.slice(0, SHOWN_ROWS_MAX)
  return [
    '',
    `${title}: ${list.count}`,
    ...tableLines(heading, shown.map(cells)),
    ...(shown.length < list.count ? [`... and ${list.count - shown.length} more`] : []),
  ]
}

/** True where a tenant, a restore point, or a part of one, was not found again. */
export const isIncomplete = (report: RebuildReport): boolean =>
  report.lostPoints.count + report.incompletePoints.count + report.missingRecords + report.missingStates > 0

export const rebuildLines = (report: RebuildReport): string[] => [
  `The catalog was built again (${(report.durationMs / 1000).toFixed(1)} s).`,
  ...tableLines(
    ['FOUND', 'COUNT'],
    [
      ['tenants', String(report.tenants)],
      ['agents', String(report.agents)],
      ['machines', String(report.machines)],
      ['restore points', String(report.points)],
      ['records in the index', String(report.records)],
      ['second copies of records', String(report.duplicates)],
      ['manifests of pruned points', String(report.prunedPoints)],
      ['records that are missing', String(report.missingRecords)],
      ['packs', `${report.packs} (${sizeText(report.bytes)})`],
    ],
  ),
  report.takenFrom === null
    ? 'There was no old catalog to read: the audit log, tokens and the history of jobs start empty.'
    : `What packs do not hold was taken from ${report.takenFrom}.`,
  ...(report.replaced === null ? [] : [`The old catalog is kept as ${report.replaced}.`]),
  ...listed('Restore points that were not found again', report.lostPoints, ['TENANT', 'POINT', 'WHY'], (row) => [
    row.tenant,
    row.point,
    row.problem,
  ]),
  ...listed(
    'Restore points with parts missing',
    report.incompletePoints,
    ['TENANT', 'MACHINE', 'TIME (UTC)', 'POINT', 'DISKS'],
    (row) => [row.tenant, row.machine, timeText(row.timeMs), row.point, row.disks.join(', ')],
  ),
  ...listed('Restore points taken from the old catalog alone', report.catalogPoints, ['TENANT', 'POINT'], (row) => [
    row.tenant,
    row.point,
  ]),
  ...listed('Tenants whose state was not found whole', report.withoutState, ['TENANT', 'PACKS', 'WHY'], (row) => [
    row.tenant,
    String(row.packs),
    row.problem,
  ]),
  ...listed(
    'Ranges of packs that could not be read',
    report.unreadable,
    ['TENANT', 'PACK', 'OFFSET', 'BYTES', 'WHY'],
    (row) => [row.tenant, row.pack, String(row.offset), row.length === null ? 'all' : String(row.length), row.problem],
  ),
  ...listed('Files that are no packs of this version', report.unknownFiles, ['FILE'], (file) => [file]),
  ...listed('Remarks', report.remarks, ['REMARK'], (remark) => [remark]),
]
