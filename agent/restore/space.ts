// Free space for a restore: looked at before anything is written, and exactly where the disks' sizes alone do not say.
import { statfs } from 'node:fs/promises'
import { chunkLength } from '../../protocol/chunk.ts'
import { VarveError } from '../../protocol/errors.ts'
import { sizeText } from '../../protocol/host/size.ts'
import { childSpan, FAN_OUT } from '../../protocol/image-tree.ts'
import type { ImageTree } from '../export/image-tree.ts'

/** Bytes of an image that are not zero, in whole chunks. */
export const contentBytes = async (
  tree: Pick<ImageTree, 'node' | 'chunks' | 'rootLevel'>,
  { size, chunkBytes }: { readonly size: number; readonly chunkBytes: number },
): Promise<number> => {
  let bytes = 0
  const add = async (level: number, position: number): Promise<void> => {
    const node = await tree.node(level, position)
    if (node === null) return
    for (let at = 0; at < FAN_OUT; at++) {
      if (node.child(at) === null) continue
      const below = position + at * childSpan(level)
      if (level === 0) bytes += chunkLength(below, size, chunkBytes)
      else await add(level - 1, below)
    }
  }
  await add(tree.rootLevel, 0)
  return bytes
}

/** Bytes that this user may still write to a folder's file system; null where it does not tell. */
export const freeBytesOf = async (folder: string): Promise<number | null> => {
  try {
    const { bavail, bsize } = await statfs(folder)
    return bavail * bsize
  } catch {
    return null
  }
}

/**
 * TARGET_INVALID where what has to be written does not fit into a folder. `mostBytes` is what it takes at most, and `exactly`
 * finds out how much it is, where it could be too much. `thereBytes` are written already.
 */
export const checkSpace = async (
  folder: string,
  need: { readonly mostBytes: number; readonly exactly: () => Promise<number>; readonly thereBytes: number },
): Promise<void> => {
  const freeBytes = await freeBytesOf(folder)
  if (freeBytes === null || need.mostBytes <= freeBytes) return
  const neededBytes = (await need.exactly()) - need.thereBytes
  if (neededBytes <= freeBytes) return
  throw new VarveError(
    'TARGET_INVALID',
    `${folder} has ${sizeText(freeBytes)} free, and the restore takes ${sizeText(neededBytes)}: make room, or choose another folder`,
  )
}
