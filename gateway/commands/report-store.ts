// Reports of collection, verification, usage and check as lines for people.
import type {
  CheckReport,
  CollectionReport,
  DamagedRecord,
  LostRange,
  UsageReport,
  VerifyReport,
} from '../../protocol/maintenance.ts'
import { sizeText } from '../../protocol/host/size.ts'
import { tableLines } from '../../protocol/host/table.ts'
import { timeText } from './report-points.ts'

/** Damaged records and ranges that a report shows; the rest is counted, and listed with `--json`. */
const SHOWN_ROWS_MAX = 100

const many = new Intl.NumberFormat('en')
const count = (value: number): string => many.format(value)
const records = ({ records, bytes }: { records: number; bytes: number }): [string, string] => [
  count(records),
  sizeText(bytes),
]
const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`

/** A table without empty lines, and a note of what is not shown. */
const listed = <R>(
  heading: readonly string[],
  rows: readonly R[],
  total: number,
  cells: (row: R) => readonly string[],
): string[] => {
  if (total === 0) return []
  const shown = rows.slice(0, SHOWN_ROWS_MAX)
  return [
    ...tableLines(heading, shown.map(cells)),
    ...(shown.length < total ? [`... and ${count(total - shown.length)} more`] : []),
  ]
}

export const collectionLines = (tenant: string, report: CollectionReport): string[] => {
  const { dryRun, packs, waiting } = report
  const would = dryRun ? 'would be ' : ''
  const freed = report.bytesBefore - report.bytesAfter
  return [
    `${tenant}: ${dryRun ? 'what a collection would do' : 'collected'} (${seconds(report.durationMs)})`,
    ...tableLines(
      ['', 'RECORDS', 'BYTES'],
      [
        ['examined', ...records(report.examined)],
        ['live', ...records(report.live)],
        [dryRun ? 'dead' : 'dead, taken out', ...records(report.dead)],
        [`${would}rewritten`, '', sizeText(report.bytesRewritten)],
        [`${would}freed`, '', freed < 0 ? `-${sizeText(-freed)}` : sizeText(freed)],
      ],
    ),
    `Packs: ${count(packs.before)} before; ${count(packs.removed)} ${would}removed, ${count(packs.rewritten)} ${would}rewritten; ${count(packs.after)} after. ` +
      `${sizeText(report.bytesBefore)} before, ${sizeText(report.bytesAfter)} after.`,
    ...(waiting.belowThresholdBytes > 0
      ? [
          `Not freed yet: ${sizeText(waiting.belowThresholdBytes)} in packs above the threshold: at the next gc once more of them is garbage, or now with a higher --threshold.`,
        ]
      : []),
    ...(waiting.inUseBytes > 0
      ? [
          `Not freed yet: ${sizeText(waiting.inUseBytes)} in packs that uploads write: at the next gc once these uploads have ended.`,
        ]
      : []),
    ...(waiting.damagedBytes > 0
      ? [
          `Not freed yet: ${sizeText(waiting.damagedBytes)} in packs with damaged records: once a backup has healed them, or the points that need them are gone.`,
        ]
      : []),
    ...(waiting.noRoomBytes > 0
      ? [
          `Not freed yet: ${sizeText(waiting.noRoomBytes)} in packs whose live records cannot be copied for lack of space: at the next gc once there is more free space.`,
        ]
      : []),
    ...(report.missing > 0
      ? [
          `${count(report.missing)} records that restore points need are known to be damaged or missing: varve-gateway verify names the points.`,
        ]
      : []),
  ]
}

/** Whether a collection left packs for lack of space. */
export const lacksRoom = ({ waiting }: CollectionReport): boolean => waiting.noRoomBytes > 0

const damagedRow = ({ type, id, pack, offset, reason }: DamagedRecord): string[] => [
  type,
  id.slice(0, 16),
  pack ?? '-',
  offset === null ? '-' : String(offset),
  reason,
]

const lostRow = ({ machine, timeMs, point, disk, offset, length }: LostRange): string[] => [
  machine,
  timeText(timeMs),
  point,
  disk,
  String(offset),
  String(length),
]

/** True where a tenant has damage that is known, found now or before. */
export const isDamaged = ({ points, good, damagedCount, lostCount }: VerifyReport): boolean =>
  good < points || damagedCount > 0 || lostCount > 0

export const verifyLines = (tenant: string, report: VerifyReport): string[] => [
  `${tenant}: ${count(report.good)} of ${count(report.points)} restore points are whole; ${count(report.chunks)} chunks and ${count(report.nodes)} nodes, ` +
    `${sizeText(report.bytes)} read (${seconds(report.durationMs)}).`,
  ...listed(['DAMAGED', 'ID', 'PACK', 'OFFSET', 'REASON'], report.damaged, report.damagedCount, damagedRow),
  ...listed(['MACHINE', 'TIME (UTC)', 'POINT', 'DISK', 'LOST FROM', 'BYTES'], report.lost, report.lostCount, lostRow),
  ...(isDamaged(report)
    ? ['The next backup that has the same content sends it again and heals every restore point that needs it.']
    : []),
]

/** A quota, and whether it is exceeded. */
const limit = (bytes: number | null, usedBytes: number): string => {
  if (bytes === null) return 'none'
  return usedBytes >= bytes ? `${sizeText(bytes)} (reached)` : sizeText(bytes)
}

export const usageLines = (tenant: string, report: UsageReport): string[] => {
  const { quota, growth } = report
  return [
    ...tableLines(
      ['TENANT', 'MACHINE', 'DISK', 'POINT', 'TIME (UTC)', 'POINTS', 'LOGICAL', 'USED', 'UNIQUE', 'SHARED', 'STORED'],
      report.rows.map((row) => [
        tenant,
        row.machine || '-',
        row.disk ?? '-',
        row.point ?? '-',
        timeText(row.timeMs),
        count(row.points),
        ...[row.logicalBytes, row.usedBytes, row.uniqueBytes, row.sharedBytes, row.storedBytes].map(sizeText),
      ]),
    ),
    ...(report.rowCount > report.rows.length
      ? [`... and ${count(report.rowCount - report.rows.length)} more, the oldest points first; ask for one machine`]
      : []),
    `Packs: ${sizeText(report.packBytes)}, ${sizeText(report.deadBytes)} of it dead; soft quota ${limit(quota.softBytes, report.packBytes)}, hard quota ${limit(quota.hardBytes, report.packBytes)}.`,
    `Deduplication ${report.dedupRatio.toFixed(2)}, compression ${report.compressionRatio.toFixed(2)}; ` +
      `stored in the last day ${sizeText(growth.dayBytes)}, 7 days ${sizeText(growth.weekBytes)}, 30 days ${sizeText(growth.monthBytes)}.`,
  ]
}

/** True where packs lack what index or catalog name, or hold unknown content. */
export const isBroken = ({ dangling, missingPacks, problemCount }: CheckReport): boolean =>
  dangling > 0 || missingPacks > 0 || problemCount > 0

export const checkLines = (tenant: string, report: CheckReport): string[] => [
  `${tenant}: ${count(report.packs)} packs with ${count(report.records)} records, ${sizeText(report.bytes)}`,
  ...tableLines(
    ['FOUND', 'COUNT', ''],
    [
      [
        'records not in the index',
        count(report.unindexed.records),
        `${sizeText(report.unindexed.bytes)}; dead, or lost with an older catalog`,
      ],
      ['index rows without a record', count(report.dangling), ''],
      ['pack files not in the catalog', count(report.unknownPacks), ''],
      ['packs without a file', count(report.missingPacks), ''],
      [
        'restore points only in packs',
        count(report.unknownPoints),
        'pruned and not yet collected, or lost with an older catalog',
      ],
    ],
  ),
  ...listed(['PROBLEM'], report.problems, report.problemCount, (problem) => [problem]),
  isBroken(report)
    ? 'What is missing can be looked for in the packs: stop the gateway and run varve-gateway repair --rebuild.'
    : 'Packs, index and catalog agree.',
]
