// Where the folder of packs of a data folder lies, and what is noted in it.
import { readdirSync } from 'node:fs'
import path from 'node:path'
import { hasCode } from '../../../protocol/host/system-error.ts'
import { PACKS_NAME } from '../../folder/layout.ts'
import { isUuid } from '../format.ts'
import type { PackNotes } from '../pack-store.ts'
import { raiseEpoch, readEpoch } from './epoch-file.ts'
import { PACK_SUFFIX } from './names.ts'
import { readMarker } from './packs-marker.ts'

/** The directory engine in this folder. */
export interface DirectorySpec {
  readonly engine: 'directory'
  readonly root: string
}

export const directoryIn = (folder: string): DirectorySpec => ({
  engine: 'directory',
  root: path.join(folder, PACKS_NAME),
})

const entriesOf = (folder: string): string[] => {
  try {
    return readdirSync(folder)
  } catch (error) {
    if (hasCode(error, 'ENOENT') || hasCode(error, 'ENOTDIR')) return []
    throw error
  }
}

/** Whether there is any pack in a folder of packs. */
const hasPacks = (root: string): boolean =>
  entriesOf(root)
    .filter(isUuid)
    .some((tenant) =>
      entriesOf(path.join(root, tenant)).some((prefix) =>
        entriesOf(path.join(root, tenant, prefix)).some((file) => file.endsWith(PACK_SUFFIX)),
      ),
    )

export const directoryNotes = (root: string): PackNotes => ({
  id: () => readMarker(root),
  epoch: () => readEpoch(root),
  raiseEpoch: (epoch, id) => raiseEpoch(root, epoch, id),
  hasPacks: () => hasPacks(root),
})
