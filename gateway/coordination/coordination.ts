// What must hold across all who write into one datastore, whichever process they run in: what a collection must leave alone, and
// who alone does what.
import type { Ref } from '../../protocol/image-tree.ts'

/** A tree that is being read: its root, and how many chunks it spans. */
export interface ReadTree {
  readonly root: Ref
  readonly chunks: number
}

/** Work under way. */
export interface Holder {
  /** Ids it relies on that its durable state does not lead to. */
  ids?(): Iterable<Uint8Array>
  readonly tree?: ReadTree
}

/** What protects ids from one collection. */
export interface Protection extends AsyncDisposable {
  /**
   * Runs work with the places of those of these ids that no work under way has relied on since the collection began, or did then;
   * nobody comes to rely on one of them before what the work queues in its first turn.
   */
  uncovered<R>(ids: readonly Uint8Array[], work: (places: readonly number[]) => Promise<R>): Promise<R>
  /** Trees that are being read now; to be asked after the roots of the catalog were read. */
  trees(): Promise<readonly ReadTree[]>
}

/** The meeting point of uploads, reads and collections of one tenant. */
export interface References {
  /** Ids that the caller is about to look up, or to write, in order to rely on them; to be waited for before the look-up. */
  touch(ids: Iterable<Uint8Array>): Promise<void>
  /** Has the holder asked by the collections that begin before it is disposed of. */
  hold(holder: Holder): Disposable
  /** Begins a collection; MAINTENANCE_RUNNING while there is one. */
  protect(): Promise<Protection>
}

/** Who has a lease. */
export interface Held {
  /** What it was taken for. */
  readonly what: string
  /** Resolves when it is given back, or lost. */
  readonly ended: Promise<void>
}

/** A name that one holder has. */
export interface Lease extends AsyncDisposable {
  /** Larger than that of any earlier lease of the name: who comes with a smaller one has lost it. */
  readonly fence: number
  /** Aborted, with STORE_LOCKED, when somebody else may have taken it: what it guards must end. */
  readonly lost: AbortSignal
  /** Who had the other name at the moment of taking. */
  readonly beside: Held | null
}

export interface Coordination {
  /** Of the tenant with this uuid. */
  references(tenant: string): References
  /** Takes a name, and looks at the same moment at another; who has it, where it is taken. */
  take(name: string, what: string, beside?: string): Promise<{ readonly lease: Lease } | { readonly held: Held }>
}
