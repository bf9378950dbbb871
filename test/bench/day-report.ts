// What a scripted day came to: sizes, what was compared, and what the backups took with and without upkeep beside them.
import type { CollectionReport, VerifyReport } from '../../protocol/maintenance.ts'
import type { PruneCounts, Timed } from './day-keeper.ts'
import type { Backup } from './day-machine.ts'
import { judge, type Report, type Table } from './scenario.ts'
import { median } from './statistics.ts'

/** Pack files over unique live data: what the design promises. */
const SIZE_RATIO_MAX = 1.1

const GATEWAY_MB_MAX = 300

export interface DayBackup {
  readonly seconds: number
  /** Machines backed up at the same time, this one included. */
  readonly together: number
  /** The keeper was at work. */
  readonly kept: boolean
  readonly sentBytes: number
  readonly storedBytes: number
}

/** The kept points, each restored and found exact, and what their distinct chunks take when compressed one by one. */
export interface Weighed {
  readonly points: number
  readonly chunks: number
  readonly plainBytes: number
  readonly compressedBytes: number
}

export interface Day {
  readonly machines: number
  readonly diskBytes: number
  readonly firsts: readonly Backup[]
  readonly increments: readonly DayBackup[]
  /** With the keeper at work. */
  readonly daySeconds: number
  /** The last one included. */
  readonly prunes: readonly Timed<PruneCounts>[]
  /** Beside the backups. */
  readonly collections: readonly Timed<CollectionReport>[]
  readonly verifications: readonly Timed<VerifyReport>[]
  /** The last collection. */
  readonly last: Timed<CollectionReport>
  /** Length of all pack files in the end, in bytes. */
  readonly packBytes: number
  /** The most memory that the gateway had. */
  readonly gatewayPeakBytes: number
  readonly weighed: Weighed
}

const sum = <T>(items: readonly T[], value: (item: T) => number): number =>
  items.reduce((total, item) => total + value(item), 0)

const mebibytes = (bytes: number): string => (bytes / 2 ** 20).toFixed(1)

const times = (items: readonly { readonly seconds: number }[]): number[] => items.map(({ seconds }) => seconds)

const backupsTable = (increments: readonly DayBackup[]): Table => {
  const groups = [...new Set(increments.map(({ together }) => together))].toSorted((a, b) => a - b)
  const rows = groups.map((together) => {
    const own = increments.filter((one) => one.together === together)
    const [quiet, kept] = [false, true].map((kept) => times(own.filter((one) => one.kept === kept)))
    return [
      `${together} at once`,
      String(quiet!.length),
      median(quiet!).toFixed(2),
      String(kept!.length),
      median(kept!).toFixed(2),
      Math.max(...kept!).toFixed(2),
      (median(kept!) / median(quiet!)).toFixed(2),
    ]
  })
  const heading = ['increments', 'alone', 'seconds', 'with upkeep beside', 'seconds', 'slowest', 'ratio']
  return { title: 'What a backup command takes, medians', heading, rows }
}

const upkeepTable = ({ prunes, collections, verifications, last }: Day): Table => {
  const row = (title: string, runs: readonly Timed<unknown>[], note: string): string[] => [
    title,
    String(runs.length),
    runs.length === 0 ? '' : median(times(runs)).toFixed(2),
    runs.length === 0 ? '' : Math.max(...times(runs)).toFixed(2),
    note,
  ]
  const swept = sum(collections, ({ report }) => report.dead.bytes)
  const copied = sum(collections, ({ report }) => report.bytesRewritten)
  const verified = sum(verifications, ({ report }) => report.bytes)
  return {
    title: 'Upkeep beside the backups, whole commands',
    heading: ['command', 'runs', 'seconds, median', 'most', 'in all'],
    rows: [
      row('prune, the last one included', prunes, `${sum(prunes, ({ report }) => report.removed)} points removed`),
      row('gc', collections, `${mebibytes(swept)} MiB dead, ${mebibytes(copied)} MiB copied`),
      row('verify, everything', verifications, `${mebibytes(verified)} MiB read`),
      row('the last gc', [last], `${mebibytes(last.report.bytesBefore - last.report.bytesAfter)} MiB freed`),
    ],
  }
}

const sizesTable = ({ firsts, increments, packBytes, weighed, last }: Day): Table => {
  const stored = sum(firsts, ({ figures }) => figures.bytesStored) + sum(increments, ({ storedBytes }) => storedBytes)
  return {
    title: 'Sizes',
    heading: ['what', 'MiB'],
    rows: [
      ['stored by all backups of the day', mebibytes(stored)],
      ['pack files in the end', mebibytes(packBytes)],
      ['freed over the day', mebibytes(stored - packBytes)],
      ['live records by the last gc, trees and manifests included', mebibytes(last.report.live.bytes)],
      [`distinct chunks of the kept points (${weighed.chunks}), plain`, mebibytes(weighed.plainBytes)],
      ['the same, each compressed with zstd 1', mebibytes(weighed.compressedBytes)],
    ],
  }
}

export const dayReport = (day: Day): Report => {
  const { machines, diskBytes, firsts, increments, prunes, packBytes, weighed, last, daySeconds } = day
  const kept = increments.filter((one) => one.kept)
  const quiet = increments.filter((one) => !one.kept)
  return {
    tables: [sizesTable(day), upkeepTable(day), backupsTable(increments)],
    goals: [
      judge('pack files / unique live data after compression', packBytes / weighed.compressedBytes, {
        atMost: SIZE_RATIO_MAX,
      }),
      judge('pack files / live records by the last gc', packBytes / last.report.live.bytes, null),
      judge('restore points kept, each restored and found exact', weighed.points, null),
      judge('peak memory of the gateway', day.gatewayPeakBytes / 1e6, { atMost: GATEWAY_MB_MAX }, 'MB'),
      judge(
        'restore points pruned',
        sum(prunes, ({ report }) => report.removed),
        null,
      ),
      judge('backup with upkeep beside / without, medians', median(times(kept)) / median(times(quiet)), null),
    ],
    notes: [
      `${machines} machines with a disk of ${mebibytes(diskBytes)} MiB each, a QEMU and an agent for each, one tenant: ${firsts.length} first fulls, then ${kept.length} increments in ${daySeconds.toFixed(0)} s of random machines, ` +
        `some at once, with prune, gc, prune and verify one after the other beside them, a second apart, waiting for no backup; ${quiet.length} more increments, half before and half after, have nothing beside them. ` +
        'Before each increment the machine rewrites ranges of 4 to 512 KiB (bytes that compress to half, or not at all), gets pieces that other machines hold too, zeroes and discards. The day is run once.',
      `The rules keep the newest 6 points of each machine; one or two more of each are held. After the last prune and gc the gateway lists exactly the points that rules and holds leave; ` +
        `each of the ${weighed.points} was restored by varve-agent restore and every chunk compared with the digest that the disk’s model had at its instant. Any difference, any point too many or too few, any damage or missing record ends the run as failed.`,
      'Unique live data after compression is reckoned without the gateway: every distinct chunk of the restored disks that is not zero, compressed by itself with zstd 1 (or as it is, where that is less). Record headers, trees, manifests and whatever is dead count against the goal.',
    ],
    details: { ...day, firsts: firsts.map(({ seconds, figures }) => ({ seconds, figures })) },
  }
}
