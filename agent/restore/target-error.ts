// Messages for a restore's target that cannot be used: the system's error with the way out.
import { VarveError } from '../../protocol/errors.ts'

/** Errors caused by the chosen target, and what to do; any other error is INTERNAL. */
const WAYS_OUT: Readonly<Record<string, string>> = {
  ENOSPC: 'no space left on its file system: make room, or choose another folder',
  EDQUOT: "this user's quota is exhausted: make room, or choose another folder",
  EFBIG: 'its file system, or a limit of this user (ulimit -f), does not allow a file of that size',
  EROFS: 'its file system is read-only: choose another folder',
  EACCES: 'this user may not write there: choose another folder, or run this as a user who may',
  EPERM: 'the system does not permit it: it may be protected (lsattr), or its file system does not accept files',
  ENOENT: 'its folder does not exist: make it first',
  ENOTDIR: 'part of the path is not a folder',
  EISDIR: 'it is a folder: name a file in it',
  ELOOP: 'its symbolic links form a loop',
  ENAMETOOLONG: 'the name is too long: 255 bytes for each part, 4095 for all',
  EBUSY: 'it is in use: by a mount, swap space or a device above it',
  ETXTBSY: 'it is in use by a program or as swap space',
  EIO: 'the device below it has an I/O error',
  ENXIO: 'there is no device behind it',
  ENODEV: 'there is no device behind it',
  ENOMEDIUM: 'there is no medium in it',
  ESTALE: 'its network file system no longer knows it: mount it again',
  ENOTCONN: 'its file system is gone: mount it again',
  EOPNOTSUPP: 'its file system cannot do that: choose another folder',
  EINVAL: 'its file system or device cannot do that: choose another folder',
}

/** Whether an error of the system is about the chosen target. */
const wayOut = (code: string | undefined): string | undefined =>
  code !== undefined && Object.hasOwn(WAYS_OUT, code) ? WAYS_OUT[code] : undefined

/** An error of the file system as TARGET_INVALID; a VarveError stays as it is. */
export const targetError = (what: string, error: unknown): VarveError => {
  if (error instanceof VarveError) return error
  const { code, message } = error as NodeJS.ErrnoException
  const way = wayOut(code)
  if (way === undefined) return new VarveError('INTERNAL', `${what}: ${message}`, { cause: error })
  return new VarveError('TARGET_INVALID', `${what}: ${way} (${code})`, { cause: error })
}
