// A block device as the kernel reports it: its partitions, the devices above and below it, and its mounts.
import { readdir, readFile, realpath, stat } from 'node:fs/promises'
import path from 'node:path'

/** Most levels of devices that are followed below a device. */
const DEPTH_MAX = 16

const read = async (file: string): Promise<string | null> => {
  try {
    return (await readFile(file, 'utf8')).trim()
  } catch {
    return null
  }
}

const list = async (folder: string): Promise<string[]> => {
  try {
    return await readdir(folder)
  } catch {
    return []
  }
}

/** The form `8:1` of a device number from stat. */
export const numberOf = (rdev: bigint): string => {
  const major = ((rdev >> 8n) & 0xfffn) | ((rdev >> 32n) & 0xfffff000n)
  const minor = (rdev & 0xffn) | ((rdev >> 12n) & 0xffffff00n)
  return `${major}:${minor}`
}

/** Devices by number, `8:1`, and files by path. */
export interface Related {
  /** The device and its partitions: completely overwritten. */
  readonly own: ReadonlySet<string>
  /** The disk of a partition, and devices below it: partly overwritten. */
  readonly below: ReadonlySet<string>
  /** Backing files of loop devices below it. */
  readonly files: readonly string[]
}

/** Numbers of the partitions of a disk. */
const partitionsOf = async (folder: string): Promise<string[]> => {
  const numbers: string[] = []
  for (const name of await list(folder)) {
    if ((await read(path.join(folder, name, 'partition'))) === null) continue
    const number = await read(path.join(folder, name, 'dev'))
    if (number !== null) numbers.push(number)
  }
  return numbers
}

/** What is in and below a device, from the kernel's device tree at `sys`. */
export const relatedDevices = async (number: string, sys = '/sys'): Promise<Related> => {
  const own = new Set([number])
  const below = new Set<string>()
  const files: string[] = []
  const follow = async (one: string, depth: number): Promise<void> => {
    const folder = await realpath(`${sys}/dev/block/${one}`).catch(() => null)
    if (folder === null || depth === DEPTH_MAX) return
    if (depth === 0) for (const partition of await partitionsOf(folder)) own.add(partition)
    const file = await read(path.join(folder, 'loop', 'backing_file'))
    if (file !== null && file !== '') files.push(file)
    const under = (await list(path.join(folder, 'slaves'))).map((name) => `${sys}/class/block/${name}`)
    if ((await read(path.join(folder, 'partition'))) !== null) under.push(path.dirname(folder))
    for (const lower of under) {
      const lowerNumber = await read(path.join(lower, 'dev'))
      if (lowerNumber === null || own.has(lowerNumber) || below.has(lowerNumber)) continue
      below.add(lowerNumber)
      await follow(lowerNumber, depth + 1)
    }
  }
  await follow(number, 0)
  return { own, below, files }
}

/** Octal escapes of a space and the like in the kernel's tables. */
const unescape = (text: string): string =>
  text.replace(/\\([0-7]{3})/gu, (_, octal: string) => String.fromCodePoint(Number.parseInt(octal, 8)))

/** The device number of a path, null where it is no block device. */
export const deviceNumber = async (file: string): Promise<string | null> => {
  try {
    const found = await stat(file, { bigint: true })
    return found.isBlockDevice() ? numberOf(found.rdev) : null
  } catch {
    return null
  }
}

/** Mounts of any of the devices: `mounted on /srv`. */
const mountsOf = async (devices: ReadonlySet<string>): Promise<string[]> => {
  const lines = ((await read('/proc/self/mountinfo')) ?? '').split('\n')
  const found: string[] = []
  for (const line of lines) {
    const [left = '', right = ''] = line.split(' - ')
    const [, , number = '', , where = ''] = left.split(' ')
    const source = unescape(right.split(' ')[1] ?? '')
    // file systems over several devices have a number of their own, and name one of them
    const named = devices.has(number) || (source.startsWith('/') && devices.has((await deviceNumber(source)) ?? ''))
    if (named) found.push(`it is mounted on ${unescape(where)}`)
  }
  return found
}

/** Paths of the host's swap space. */
export const swapPaths = async (): Promise<string[]> => {
  const lines = ((await read('/proc/swaps')) ?? '').split('\n').slice(1)
  return lines.map((line) => unescape(line.split(/\s/u)[0] ?? '')).filter((file) => file.startsWith('/'))
}

/** Devices above any of these: `device-mapper vg-root uses it`. */
const holdersOf = async (devices: ReadonlySet<string>): Promise<string[]> => {
  const found: string[] = []
  for (const number of devices) {
    const folder = `/sys/dev/block/${number}`
    for (const name of await list(path.join(folder, 'holders'))) {
      const mapped = await read(`/sys/class/block/${name}/dm/name`)
      found.push(`/dev/${name}${mapped === null ? '' : ` (${mapped})`} lies on it`)
    }
  }
  return found
}

/** The kernel's own uses of any of these devices, in sentences. */
export const kernelUses = async (devices: ReadonlySet<string>): Promise<string[]> => {
  const swaps: string[] = []
  for (const file of await swapPaths())
    if (devices.has((await deviceNumber(file)) ?? '')) swaps.push(`it is swap space (${file})`)
  return [...(await mountsOf(devices)), ...swaps, ...(await holdersOf(devices))]
}

/** Backing files of loop devices, with the device. */
export const loopFiles = async (): Promise<{ device: string; file: string }[]> => {
  const found: { device: string; file: string }[] = []
  for (const name of await list('/sys/block')) {
    if (!name.startsWith('loop')) continue
    const file = await read(`/sys/block/${name}/loop/backing_file`)
    if (file !== null && file !== '') found.push({ device: `/dev/${name}`, file })
  }
  return found
}
