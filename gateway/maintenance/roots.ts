// Everything a collection must keep, gathered in the one order that misses nothing.
import type { UploadRoots } from '../catalog/collection.ts'
import { decodeState } from '../chains/image-builder.ts'
import type { ReadTree } from '../coordination/coordination.ts'
import { OWNER_ALL, type SurveyOptions, type SurveyTree } from './survey.ts'

/**
 * The subtrees and chunks that a running upload has placed: its base stays whole as well, because ranges of it may still be kept.
 */
export const partsOfUpload = ({ state }: UploadRoots): SurveyOptions['parts'] => {
  if (state.length === 0) return []
  return decodeState(state).open.flatMap((children, level) =>
    children.filter((child) => child !== null).map((id) => ({ id, level: level - 1 })),
  )
}

/** The bases of running uploads and the trees of readers. */
export const workingTrees = (
  uploads: readonly UploadRoots[],
  readers: readonly ReadTree[],
  chunkBytes: number,
): SurveyTree[] => [
  ...uploads.map(({ baseRoot, size }) => ({ root: baseRoot, size, owner: OWNER_ALL })),
  // a reader of a tree whose point was removed meanwhile detects unreadable nodes itself
  ...readers.map(({ root, chunks }) => ({ root, size: chunks * chunkBytes, owner: OWNER_ALL, givenUp: true as const })),
]
