// The image of a disk before anything is in it: whatever it does not have is read from the export that its header names.
import { runTool, type RunTool } from '../drivers/offline/tools.ts'
import { VarveError } from '../../protocol/errors.ts'
import { mapImage } from './image-map.ts'
import type { InstantDisk, InstantRecord, Places } from './record.ts'

/** Bytes of a cluster: what is read for a write to a part of one. Smaller ones would take more memory for tables. */
const CLUSTER_BYTES = 65_536

/** Longest name of a backing file, in bytes, as QEMU has it. */
const BACKING_BYTES_MAX = 1023

const S_MS = 1000

/** What a header names: the export, with how long QEMU keeps a read while nothing serves it. TARGET_INVALID. */
export const backingOf = (disk: string, nbd: string, reconnectMs: number): string => {
  const name = `json:${JSON.stringify({
    driver: 'raw',
    file: {
      driver: 'nbd',
      server: { type: 'unix', path: nbd },
      export: disk,
      'reconnect-delay': Math.ceil(reconnectMs / S_MS),
    },
  })}`
  if (Buffer.byteLength(name) > BACKING_BYTES_MAX)
    throw new VarveError('TARGET_INVALID', `disk ${disk} or the folder has too long a name: restore it with "restore"`)
  return name
}

/** Makes the image, which nothing has to serve yet; TOOL_MISSING. */
export const makeOverlay = async (
  { name, size, file }: Pick<InstantDisk, 'name' | 'size' | 'file'>,
  { nbd }: Pick<Places, 'nbd'>,
  { reconnectMs }: Pick<InstantRecord, 'reconnectMs'>,
  run: RunTool = runTool,
): Promise<void> => {
  const backing = backingOf(name, nbd, reconnectMs)
  const options = `compat=1.1,cluster_size=${CLUSTER_BYTES}`
  await run('qemu-img', [
    'create',
    '-q',
    '-u',
    '-f',
    'qcow2',
    '-o',
    options,
    '-F',
    'raw',
    '-b',
    backing,
    file,
    `${size}`,
  ])
}

/**
 * Names the export again where the header of an image that is not complete names nothing: a QEMU that libvirt had bring the disk in
 * was killed after it had taken the name out, and before all that it had copied was named by the tables in the file. What the image
 * lacks then nobody has written, so it is the point's. TARGET_IN_USE while a QEMU has the image open.
 */
export const mendOverlay = async (
  { name, file, alone }: InstantDisk,
  { nbd }: Places,
  { reconnectMs }: Pick<InstantRecord, 'reconnectMs'>,
  run: RunTool = runTool,
): Promise<void> => {
  if (alone) return
  const { isBacked, missingBytes } = await mapImage(file)
  if (isBacked || missingBytes === 0) return
  const backing = backingOf(name, nbd, reconnectMs)
  await run('qemu-img', ['rebase', '-u', '-f', 'qcow2', '-F', 'raw', '-b', backing, file])
}
