// The interface of a pack store: shaped by its users' needs, so that a folder as well as an object store can implement it.
import { VarveError } from '../../protocol/errors.ts'

export interface PackName {
  /** The tenant's uuid. */
  readonly tenant: string
  /** The pack's uuid. */
  readonly pack: string
}

/**
 * A pack that grows. Whether it is one file or a sequence of immutable parts is up to the store: appended bytes are permanent
 * once synced. It has one owner; after its first failed append or sync it refuses all others.
 */
export interface PackFile extends AsyncDisposable {
  /** Length, in bytes, with everything appended so far. */
  readonly bytes: number
  /** True after an append or sync failed: what the pack holds past its last sync is unknown. */
  readonly broken: boolean
  /**
   * Adds bytes at the end; they are readable after the next sync. STORE_FULL without space, STORE_FAILED otherwise; the pack is
   * broken then. One call at a time.
   */
  append(bytes: Uint8Array): Promise<void>
  /**
   * Returns when all that was appended before the call survives power loss. STORE_FULL, STORE_FAILED; the pack is broken then.
   */
  sync(): Promise<void>
}

/** The cost of requests, by which readers plan them. */
export interface PackCosts {
  /** Concurrent requests that pay off. */
  readonly concurrency: number
  /** Largest gap between two ranges that is cheaper to read than a second request, in bytes. */
  readonly readGapBytes: number
}

/** Room of a store, in bytes. */
export interface PackSpace {
  readonly freeBytes: number
  readonly totalBytes: number
}

/** Space that a store holds back and frees when it is full, for writes that must succeed. */
export interface PackBallast {
  /** Restores it as far as there is room; null, or the bytes that would have to be free. STORE_FULL, STORE_FAILED. */
  fill(isStopped: () => boolean): Promise<number | null>
  /** Runs work that takes so many bytes, and retries it with freed space when the store is full. */
  drawing<R>(bytes: number, work: () => Promise<R>): Promise<R>
  /** Makes sure that so many bytes are free; false, with nothing freed, where that is impossible. STORE_FAILED. */
  lend(bytes: number): Promise<boolean>
}

/** What lies in a store: a pack, or something else by its path. */
export type PackEntry = { readonly name: PackName } | { readonly unknown: string }

/** The packs of a store. A missing pack counts as absent only while the store is known to be the right one. */
export interface Packs {
  readonly costs: PackCosts
  /**
   * Makes a new pack that holds `header`; it and its name survive power loss when this returns. EXISTS, STORE_FULL, STORE_FAILED.
   */
  create(name: PackName, header: Uint8Array): Promise<PackFile>
  /** Continues at the end of a pack. NOT_FOUND; DATA_DAMAGED unless it has exactly `bytes` bytes. */
  open(name: PackName, bytes: number): Promise<PackFile>
  /** Exactly this range, in a buffer of its own. NOT_FOUND; DATA_DAMAGED when the pack ends before it. */
  read(name: PackName, offset: number, length: number): Promise<Uint8Array<ArrayBuffer>>
  /** Length in bytes, or null when there is no such pack. */
  size(name: PackName): Promise<number | null>
  /** Removes packs; an absent one is no error. Returns the error of each that could not be removed, by its uuid. */
  remove(names: readonly PackName[]): Promise<ReadonlyMap<string, VarveError>>
  /** Every pack, of one tenant where that is named, and what else lies among them. */
  list(tenant?: string): AsyncIterable<PackEntry>
}

/** An open store of packs. */
export interface PackStore extends Packs, AsyncDisposable {
  /** Its name for people. */
  readonly place: string
  /**
   * Uuid of its mark, which tells it from an empty mount point and from another datastore's; null where it has none and none is
   * expected.
   */
  readonly id: string | null
  /** Most bytes of a pack here, at most PACK_BYTES_MAX. */
  readonly packBytesMax: number
  readonly ballast: PackBallast
  /** STORE_FAILED unless it is there with its mark. */
  confirm(): Promise<void>
  /** STORE_FAILED unless it is there with its mark and takes new packs, as far as that shows without making one. */
  writable(): Promise<void>
  /** Creates the store if it is absent, and marks it permanently. STORE_FULL, STORE_FAILED. */
  mark(id: string): Promise<void>
  /** Keeps other gateways off these packs until this is closed; STORE_LOCKED. */
  lock(): Promise<void>
  /** Null where it has no limit. STORE_FAILED. */
  space(): Promise<PackSpace | null>
  /** How many acknowledged changes the catalog of these packs has had; null where that was never noted. STORE_FAILED. */
  epoch(): Promise<number | null>
  /** Notes it, whatever was noted; it survives power loss when this returns. STORE_FULL, STORE_FAILED. */
  layEpoch(epoch: number): Promise<void>
}

/** Notes beside packs that can be read synchronously, before a store is opened and on the catalog's thread. */
export interface PackNotes {
  /** Uuid of the mark; null where there is none. STORE_FAILED. */
  id(): string | null
  /** The number of acknowledged changes; null where there is none, or none that can be read. STORE_FAILED. */
  epoch(): number | null
  /**
   * Raises that number where there is one, beside packs with this mark only; it survives power loss when this returns. Throws
   * errors of the system.
   */
  raiseEpoch(epoch: number, id: string | null): void
  hasPacks(): boolean
}

/** The message where the mark of a store is absent or another one. */
export const strangePacks = (): VarveError =>
  new VarveError('STORE_FAILED', 'the folder of packs is not the one of this catalog: is its file system mounted?')
