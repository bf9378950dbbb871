// What is wrong with the place of a restore, in sentences: the system's error with the way out.
import { VarveError } from '../../protocol/errors.ts'

/** What the place that was chosen is to blame for, and what to do; anything else is INTERNAL. */
const WAYS_OUT: Readonly<Record<string, string>> = {
  ENOSPC: 'no space left on its file system: make room, or choose another folder',
  EDQUOT: "no space left of this user's quota: make room, or choose another folder",
  EFBIG: 'a file of that size is more than its file system, or a limit of this user (ulimit -f), allows',
  EROFS: 'its file system is read-only: choose another folder',
  EACCES: 'this user may not write there: choose another folder, or run this as a user who may',
  EPERM: 'the system does not permit it: it may be protected (lsattr), or a file system that takes no files',
  ENOENT: 'its folder does not exist: make it first',
  ENOTDIR: 'part of the path is not a folder',
  EISDIR: 'it is a folder: name a file in it',
  ELOOP: 'its symbolic links lead in a circle',
  ENAMETOOLONG: 'the name is too long: 255 bytes for each part, 4095 for all',
  EBUSY: 'something uses it: a mount, swap space or a device above it',
  ETXTBSY: 'a program or swap space uses it',
  EIO: 'the device below it fails',
  ENXIO: 'there is no device behind it',
  ENODEV: 'there is no device behind it',
  ENOMEDIUM: 'there is no medium in it',
  ESTALE: 'its network file system has lost it: mount it again',
  ENOTCONN: 'its file system is gone: mount it again',
  EOPNOTSUPP: 'its file system cannot do that: choose another folder',
  EINVAL: 'its file system or device cannot do that: choose another folder',
}

/** Whether a system's error speaks of the place that was chosen. */
const wayOut = (code: string | undefined): string | undefined =>
  code !== undefined && Object.hasOwn(WAYS_OUT, code) ? WAYS_OUT[code] : undefined

/** An error of the file system in a sentence; a VarveError stays as it is. */
export const targetError = (what: string, error: unknown): VarveError => {
  if (error instanceof VarveError) return error
  const { code, message } = error as NodeJS.ErrnoException
  const way = wayOut(code)
  if (way === undefined) return new VarveError('INTERNAL', `${what}: ${message}`, { cause: error })
  return new VarveError('TARGET_INVALID', `${what}: ${way} (${code})`, { cause: error })
}
