// What a rebuild found and did, and everything that it could not read: bounded lists, with a count of what they leave out.
import { REPORT_ROWS_MAX } from '../../protocol/maintenance.ts'

/** Items of one kind; past REPORT_ROWS_MAX they are only counted. */
export class ReportList<T> {
  readonly rows: T[] = []
  count = 0

  add(item: T): void {
    this.count++
    if (this.rows.length < REPORT_ROWS_MAX) this.rows.push(item)
  }

  /** As it is printed in JSON. */
  toJSON(): { count: number; rows: T[] } {
    return { count: this.count, rows: this.rows }
  }
}

/** A range of a pack without a whole record; `length` is null where nothing of the pack could be used. */
export interface UnreadableRange {
  readonly tenant: string
  readonly pack: string
  readonly offset: number
  readonly length: number | null
  readonly problem: string
}

export interface IncompletePoint {
  readonly tenant: string
  readonly point: string
  readonly machine: string
  readonly timeMs: number
  readonly disks: readonly string[]
}

/** How much of a pack was read, in bytes. */
export interface ReadPack {
  readonly bytes: number
  /** Parts in which there is no whole record that can be relied on. */
  readonly gaps: readonly { readonly offset: number; readonly length: number }[]
}

export class RebuildReport {
  tenants = 0
  machines = 0
  agents = 0
  points = 0
  /** Records in the new index. */
  records = 0
  /** Records that are in the packs more than once. */
  duplicates = 0
  packs = 0
  /** Bytes of all packs. */
  bytes = 0
  /** Manifests of restore points that were pruned or never committed. */
  prunedPoints = 0
  /** Records that restore points name and the packs do not have: they are damage now. */
  missingRecords = 0
  /** Where the former catalog is now; null where there was none. */
  replaced: string | null = null
  /** The older catalog that supplied what packs do not hold; null where there was none or it could not be read. */
  takenFrom: string | null = null
  durationMs = 0
  readonly unreadable = new ReportList<UnreadableRange>()
  /** Files among the packs that are none, and packs that a later program wrote. */
  readonly unknownFiles = new ReportList<string>()
  /** Ids of all points that are lost or incomplete; not printed. */
  readonly unusable = new Set<string>()
  /** How far each pack was read, and its unread parts, by its uuid; not printed. */
  readonly read = new Map<string, ReadPack>()
  readonly incompletePoints = new ReportList<IncompletePoint>()
  /** Restore points that a state or the old catalog names and that could not be found again. */
  readonly lostPoints = new ReportList<{ readonly tenant: string; readonly point: string; readonly problem: string }>()
  /** Restore points without a manifest, taken from the old catalog. */
  readonly catalogPoints = new ReportList<{ readonly tenant: string; readonly point: string }>()
  /** Tenants of which packs have no state, or no whole one. */
  readonly withoutState = new ReportList<{
    readonly tenant: string
    readonly packs: number
    readonly problem: string
  }>()
  /** Those of them that the old catalog did not know better either. */
  missingStates = 0
  /** Everything else that a person should know, in words. */
  readonly remarks = new ReportList<string>()

  /** Notes a restore point that was not found again. */
  loses(point: { readonly tenant: string; readonly point: string; readonly problem: string }): void {
    this.unusable.add(point.point)
    this.lostPoints.add(point)
  }

  toJSON(): object {
    const { unusable: _unusable, read: _read, ...printed } = this
    return printed
  }
}
