// Restore points: listing, finding, holding, locking, removing and verifying them.
import type { MissingAttachment } from '../../protocol/attachments.ts'
import type { Consistency, LeftOutDisk, ReadKind, ReadReason } from '../../protocol/backup.ts'
import type { PointDrill, Took } from '../../protocol/schemas.ts'
import type { ManifestContent } from './manifest.ts'
import type { Question, Transaction } from './call.ts'
import type { LeftPoint, Removal } from './retention.ts'

export interface ImageRow {
  readonly name: string
  readonly size: number
  readonly root: Uint8Array | null
  readonly kind: ReadKind
  readonly reason: ReadReason
  readonly changedBytes: number
  readonly comparedChunks: number
}

/** An attachment of a restore point; `size` is bytes. */
export interface AttachmentRow {
  readonly name: string
  readonly size: number
  readonly root: Uint8Array | null
}

export interface PointRow {
  readonly id: string
  readonly machine: string
  readonly agent: string
  readonly timeMs: number
  readonly kind: ReadKind
  readonly reason: ReadReason
  readonly consistency: Consistency
  readonly note: string | null
  readonly base: string | null
  readonly bytesRead: number
  readonly bytesSent: number
  readonly bytesStored: number
  readonly durationMs: number
  /** Null where its agent told nothing. */
  readonly took: Took | null
  /** True while a person holds it. */
  readonly held: boolean
  readonly lockedUntilMs: number | null
  readonly verifiedMs: number | null
  /** Bytes of its disks and attachments that known damage leaves unreadable. */
  readonly lostBytes: number
  /** How many files should have gone with it and could not be had. */
  readonly missingAttachments: number
  /** The newest drill of it; null where it was never tried. */
  readonly drill: PointDrill | null
  /** Until when somebody reads it (`points.use`), which may have passed. */
  readonly usedUntilMs: number | null
}

/** A point as lists have it: without the machine's configuration, which may be as large as all else of a page. */
export interface ListedPoint extends PointRow {
  readonly leftOut: readonly LeftOutDisk[]
  readonly disks: readonly ImageRow[]
  readonly attachments: readonly AttachmentRow[]
}

export interface StoredPoint extends ListedPoint {
  readonly configuration: string
  readonly missing: readonly MissingAttachment[]
}

/** Part of a list, which ends early where its points have many disks or attachments; `more` tells whether points follow. */
export interface PointPage {
  readonly points: readonly ListedPoint[]
  readonly more: boolean
}

/** Where a page of points begins: behind the last one of the page before. */
export interface PointCursor {
  readonly timeMs: number
  readonly id: string
}

export interface PointsAsked {
  readonly tenant: string
  /** Narrows to the machines that this agent serves now. */
  readonly agent: string | null
  readonly machine: string | null
  readonly before: PointCursor | null
  readonly limit: number
}

/** One disk or attachment of a restore point. */
export interface DiskRoot {
  readonly disk: string
  readonly size: number
  readonly root: Uint8Array | null
}

/** A restore point with the ids from which its records are found. */
export interface PointRoots {
  readonly id: string
  readonly manifest: Uint8Array
  readonly images: readonly DiskRoot[]
}

/** A use that begins, goes on or ends. */
export interface PointUse {
  readonly tenant: string
  /** Chosen by the user, who renews it by this. */
  readonly use: string
  /** Whose it is: nobody else's use of the same id is touched. */
  readonly user: string
  /** The agent whose revocation ends it; null for a person's. */
  readonly agent: string | null
  readonly point: string
  /** It is over then; not later than now ends it. */
  readonly untilMs: number
  readonly nowMs: number
}

export interface Points {
  /** A page of points, newest first. */
  readonly list: Question<PointsAsked, PointPage>

  /** The one point whose id begins so, for work on it; NOT_FOUND or AMBIGUOUS. */
  readonly find: Question<{ tenant: string; agent: string | null; prefix: string }, StoredPoint>

  /** The same, on the thread for read-only callers. */
  readonly show: Question<{ tenant: string; agent: string | null; prefix: string }, StoredPoint>

  /** Holds a point until it is released, or releases it; NOT_FOUND. */
  readonly hold: Transaction<{ tenant: string; id: string; held: boolean }, void>

  /** Locks a point until a later time than it is locked now; nothing makes a lock shorter. NOT_FOUND, POINT_HELD. */
  readonly lock: Transaction<{ tenant: string; id: string; untilMs: number }, void>

  /** Nothing removes a point while it is used. NOT_FOUND; LIMIT_REACHED past POINT_USES_OF_ONE_MAX and POINT_USES_MAX. */
  readonly use: Transaction<PointUse, void>

  /**
   * Removes points in one transaction that checks again whether each may be removed; those that may not are kept and returned,
   * or, where a person named the points, nothing is removed: POINT_HELD. NOT_FOUND, LIMIT_REACHED past REMOVED_POINTS_MAX. A
   * collection frees what they stored.
   */
  readonly remove: Transaction<Removal, { removed: number; left: LeftPoint[] }>

  /**
   * Ids of the restore points of a tenant, or some of them, that were not verified since; those never verified first, then by
   * their last verification, oldest first. A verification dated later than now came from a clock that was ahead; its age is
   * unknown, so it counts as none.
   */
  readonly toVerify: Question<
    {
      tenant: string
      point: string | null
      machine: string | null
      age: { beforeMs: number; nowMs: number } | null
    },
    string[]
  >

  /** The roots of a restore point's trees; null when it is not there. */
  readonly roots: Question<{ tenant: string; point: string }, PointRoots | null>

  /** The content of a restore point's manifest, from the catalog; null when the point is not there. */
  readonly manifest: Question<{ tenant: string; point: string }, ManifestContent | null>

  /** Names another manifest for a restore point in place of one that was damaged. */
  readonly setManifest: Transaction<{ tenant: string; point: string; before: Uint8Array; manifest: Uint8Array }, void>

  readonly verified: Transaction<{ tenant: string; points: readonly string[]; nowMs: number }, void>

  /** How many of these restore points have no known damage; ones that are not there count as whole. */
  readonly whole: Question<{ tenant: string; points: readonly string[] }, number>
}
