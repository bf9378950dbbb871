// Words about restore points that several views use, in English.
import type { Consistency, LeftOutReason, ReadKind, ReadReason } from '../../../protocol/backup.ts'
import type { ChangeKind } from '../../../protocol/changes.ts'
import type { KeepReason } from '../../../protocol/retention.ts'

export const points = {
  kinds: { full: 'Full read', incremental: 'Incremental' } satisfies Record<ReadKind, string>,
  reasons: {
    bitmap: 'only what changed was read',
    first: 'the first backup of it',
    requested: 'somebody asked for it',
    'disk-added': 'the disk is new',
    'size-changed': 'the disk has another size',
    'bitmap-missing': 'the record of changes was gone',
    'bitmap-inconsistent': 'an unclean end broke the record of changes',
    'bitmap-disabled': 'the record of changes was switched off',
    'checkpoint-mismatch': 'the record of changes belongs to another point',
    'backing-changed': 'the files under the disk are others',
    'base-damaged': 'the point before is damaged',
    'changes-missed': 'the record of changes had missed some',
    moved: 'the machine had moved',
    'no-bitmap': 'this disk cannot record changes',
  } satisfies Record<ReadReason, string>,
  consistencies: {
    crash: 'As after a power cut',
    paused: 'As after a power cut, machine stopped',
    frozen: 'File systems frozen',
  } satisfies Record<Consistency, string>,
  leftOut: {
    excluded: 'excluded',
    'read-only': 'read-only',
    'same-disk': 'the same disk as another',
    'no-size': 'has no size',
    unplugged: 'unplugged meanwhile',
    floppy: 'a floppy disk',
  } satisfies Record<LeftOutReason, string>,
  keeps: {
    last: 'one of the last',
    hourly: 'hourly',
    daily: 'daily',
    weekly: 'weekly',
    monthly: 'monthly',
    yearly: 'yearly',
    within: 'within the time that keeps all',
    'no-rules': 'no rules: everything is kept',
    future: 'its time is still to come',
    held: 'held by a person',
    locked: 'locked',
    'last-good': 'the last good one',
    'next-base': 'the next backup continues it',
    'in-use': 'a backup continues it, or it is being read',
  } satisfies Record<KeepReason, string>,
  changes: {
    data: 'Changed, holds data',
    zero: 'Changed, only zeroes now',
    damaged: 'Damaged, cannot be read',
  } satisfies Record<ChangeKind, string>,
  unchanged: 'Unchanged',
} as const
