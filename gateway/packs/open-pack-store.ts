// The engines of pack stores: opens the store that a spec names, in any thread.
import { directoryIn, directoryNotes, type DirectorySpec } from './directory/directory-notes.ts'
import { DirectoryPackStore } from './directory/directory-pack-store.ts'
import type { PackNotes, PackStore } from './pack-store.ts'

/** An engine that is not of this program: its module exports `openStore`, which takes the spec and the id of the mark. */
export interface ModuleSpec {
  readonly engine: 'module'
  readonly url: string
  readonly root: string
}

/** Which store: plain data that can be passed to threads. */
export type PackStoreSpec = DirectorySpec | ModuleSpec

/** Slow engines are never queried synchronously. */
const NO_NOTES: PackNotes = { id: () => null, epoch: () => null, raiseEpoch: () => {}, hasPacks: () => false }

/** The default store of a data folder. */
export const packStoreIn = (folder: string): PackStoreSpec => directoryIn(folder)

export const packNotes = (spec: PackStoreSpec): PackNotes =>
  spec.engine === 'directory' ? directoryNotes(spec.root) : NO_NOTES

/** Opens a store as it is, or with the mark of this id: STORE_FAILED where that is absent. Creates nothing. */
export const openPackStore = async (spec: PackStoreSpec, id: string | null = null): Promise<PackStore> => {
  if (spec.engine === 'directory') return DirectoryPackStore.open(spec.root, id)
  const { openStore } = (await import(spec.url)) as {
    readonly openStore: (spec: ModuleSpec, id: string | null) => Promise<PackStore>
  }
  return openStore(spec, id)
}
