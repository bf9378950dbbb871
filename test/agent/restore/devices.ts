// What only root can make for a test: a file system with hardly any room, and a block device over a file.
import { mkdir } from 'node:fs/promises'
import { run } from '../../support/run.ts'

export interface Made extends AsyncDisposable {
  readonly path: string
}

/** A mounted tmpfs of so many bytes; null where this process may not mount. */
export const tinyFileSystem = async (folder: string, sizeBytes: number): Promise<Made | null> => {
  await mkdir(folder)
  try {
    await run('mount', ['-t', 'tmpfs', '-o', `size=${sizeBytes}`, 'tmpfs', folder])
  } catch {
    return null
  }
  return {
    path: folder,
    [Symbol.asyncDispose]: async () => {
      await run('umount', [folder])
    },
  }
}

/** A loop device over the file; null where this process may not make one. */
export const loopDevice = async (file: string): Promise<Made | null> => {
  let device: string
  try {
    device = (await run('losetup', ['--find', '--show', file])).trim()
  } catch {
    return null
  }
  return {
    path: device,
    [Symbol.asyncDispose]: async () => {
      await run('losetup', ['--detach', device])
    },
  }
}
