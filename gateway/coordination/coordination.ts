// What must hold across all writers of one datastore, in any process: what a collection must leave alone, and exclusive leases.
import type { Ref } from '../../protocol/image-tree.ts'

/** A tree that is being read: its root, and how many chunks it spans. */
export interface ReadTree {
  readonly root: Ref
  readonly chunks: number
}

/** Work under way. */
export interface Holder {
  /** Ids it relies on that its durable state does not refer to. */
  ids?(): Iterable<Uint8Array>
  readonly tree?: ReadTree
}

/** What protects ids from one collection. */
export interface Protection extends AsyncDisposable {
  /**
   * Runs `work` with the indexes of those ids that no work under way relied on at the collection's begin or since; no other work
   * can begin to rely on one of them before what `work` queues in its first turn.
   */
  uncovered<R>(ids: readonly Uint8Array[], work: (places: readonly number[]) => Promise<R>): Promise<R>
  /** Trees that are being read now; to be called after the roots of the catalog were read. */
  trees(): Promise<readonly ReadTree[]>
}

/** The meeting point of uploads, reads and collections of one tenant. */
export interface References {
  /**
   * Announces ids that the caller is about to look up, or to write, in order to rely on them; to be awaited before the look-up.
   */
  touch(ids: Iterable<Uint8Array>): Promise<void>
  /** Registers a holder that collections query if they begin before it is disposed of. */
  hold(holder: Holder): Disposable
  /** Begins a collection; MAINTENANCE_RUNNING while there is one. */
  protect(): Promise<Protection>
}

/** Who has a lease. */
export interface Held {
  /** What it was taken for. */
  readonly what: string
  /** Resolves when it is released or lost. */
  readonly ended: Promise<void>
}

/** A name that one holder has. */
export interface Lease extends AsyncDisposable {
  /** Larger than that of any earlier lease of the name: a holder with a smaller one has lost it. */
  readonly fence: number
  /** Aborted, with STORE_LOCKED, when somebody else may have taken it: what it guards must end. */
  readonly lost: AbortSignal
  /** The holder of the other name at the moment of taking. */
  readonly beside: Held | null
}

export interface Coordination {
  /** Of the tenant with this uuid. */
  references(tenant: string): References
  /** Takes a name, and reads another one in the same step; the holder where it is taken. */
  take(name: string, what: string, beside?: string): Promise<{ readonly lease: Lease } | { readonly held: Held }>
}
