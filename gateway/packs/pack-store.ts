// The interface of what holds packs, declared by the datastore that uses it; every engine passes one conformance suite.

export interface PackName {
  /** The tenant's uuid. */
  readonly tenant: string
  /** The pack's uuid. */
  readonly pack: string
}

/** A pack open for appending. It has one owner; after its first failed append or sync it refuses all others. */
export interface PackFile extends AsyncDisposable {
  /** Length, in bytes, with everything appended so far. */
  readonly bytes: number
  /** True after an append or sync failed: what the pack holds past its last sync is unknown. */
  readonly broken: boolean
  /** Adds bytes at the end. STORE_FULL without space, STORE_FAILED otherwise; the pack is broken then. One call at a time. */
  append(bytes: Uint8Array): Promise<void>
  /** Returns when all that was appended before the call survives power loss. STORE_FULL, STORE_FAILED; the pack is broken then. */
  sync(): Promise<void>
}

export interface PackStore extends AsyncDisposable {
  /** Makes a new pack that holds `header`; it and its name survive power loss when this returns. EXISTS, STORE_FULL, STORE_FAILED. */
  create(name: PackName, header: Uint8Array): Promise<PackFile>
  /** Opens a pack to go on at its end. NOT_FOUND; DATA_DAMAGED unless it has exactly `bytes` bytes. */
  open(name: PackName, bytes: number): Promise<PackFile>
  /** Exactly this range, in a buffer of its own. NOT_FOUND; DATA_DAMAGED when the pack ends before it. */
  read(name: PackName, offset: number, length: number): Promise<Uint8Array<ArrayBuffer>>
  /** Length in bytes, or null when there is no such pack. */
  size(name: PackName): Promise<number | null>
  /** Removes a pack; one that is not there is no error. */
  remove(name: PackName): Promise<void>
  /** Every pack, and the path of everything else that lies among them. */
  list(): AsyncIterable<{ readonly name: PackName } | { readonly unknown: string }>
}
