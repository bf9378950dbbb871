// Messages for a file or folder that cannot be used, by the system's error.
import { VarveError } from '../errors.ts'

/** What the system calls a failure, and what to do about it. */
const WAYS_OUT: Readonly<Record<string, string>> = {
  ENOENT: 'it does not exist',
  EACCES: 'this user may not use it: run this as one that may, such as root',
  EPERM: 'this user may not use it: run this as one that may, such as root',
  EISDIR: 'it is a folder, not a file',
  EEXIST: 'something that is not a folder has this name already',
  ENOTDIR: 'a part of its path is a file, not a folder',
  ELOOP: 'its symbolic links form a loop',
  ENAMETOOLONG: 'its name is too long',
  EROFS: 'its file system is read-only: mount it for writing, or choose another place',
  ENOSPC: 'its file system is full: make room',
  EDQUOT: 'the quota of this user is exhausted: make room',
  EIO: 'its disk has an I/O error: see the system log',
  EMFILE: 'this process has too many files open: raise its limit (ulimit -n)',
  ENFILE: 'this host has too many files open',
  ENXIO: 'there is no device behind this name, or no reader of this pipe',
}

const isSystemError = (thrown: unknown): thrown is NodeJS.ErrnoException & { readonly code: string } =>
  thrown instanceof Error && 'code' in thrown && typeof thrown.code === 'string' && 'syscall' in thrown

/** CONFIG_INVALID for a failure of the system with a file; `what` names it. Any other error as it is. */
export const fileError = (what: string, thrown: unknown): unknown => {
  if (!isSystemError(thrown)) return thrown
  const way = WAYS_OUT[thrown.code] ?? thrown.message
  return new VarveError('CONFIG_INVALID', `cannot use ${what}: ${way} (${thrown.code})`, { cause: thrown })
}

/** The same for a failure without a message of ours: the system's own path names the file. */
export const asFileError = (thrown: unknown): unknown =>
  isSystemError(thrown) && typeof thrown.path === 'string' && thrown.code in WAYS_OUT
    ? fileError(thrown.path, thrown)
    : thrown
