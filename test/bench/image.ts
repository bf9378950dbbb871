// The disk that is measured: an ext4 file system full of the machine's own programs and libraries, kept between runs.
import { createHash } from 'node:crypto'
import { copyFile, mkdir, readdir, rename, rm, stat, writeFile, readFile } from 'node:fs/promises'
import path from 'node:path'
import * as v from 'valibot'
import { run } from '../rig/run.ts'

const GIB = 2 ** 30

/** Changed when another way of making the image makes another image. */
const RECIPE = 1

/** How much of the file system is filled. */
const FILLED_SHARE = 0.55

/** Larger files are left out, so that no single one makes up the image; in bytes. */
const FILE_BYTES_MAX = 64 * 2 ** 20

const SOURCE_FOLDERS = ['/usr/bin', '/usr/sbin', '/usr/lib', '/usr/libexec']

/** The same in every image, as ext4 writes them into its structures. */
const UUID = '5eed0000-0000-4000-8000-00000000beef'

const MAKE_TIMEOUT_MS = 10 * 60_000

const recordSchema = v.object({ size: v.number(), files: v.number(), fileBytes: v.number() })

export interface BenchImage extends v.InferOutput<typeof recordSchema> {
  readonly raw: string
  readonly qcow2: string
  /** Bytes of the raw file that are not holes. */
  readonly allocatedBytes: number
}

interface SourceFile {
  readonly path: string
  readonly bytes: number
}

const sourceFiles = async (folder: string): Promise<SourceFile[]> => {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => [])
  const found = await Promise.all(
    entries.map(async (entry): Promise<SourceFile[]> => {
      const name = path.join(folder, entry.name)
      if (entry.isDirectory()) return sourceFiles(name)
      if (!entry.isFile()) return []
      return [{ path: name, bytes: (await stat(name)).size }]
    }),
  )
  return found.flat()
}

/** A mix of files of all folders that is the same as long as the machine's files are. */
const choose = (files: readonly SourceFile[], limitBytes: number): SourceFile[] => {
  const order = ({ path: name }: SourceFile): string => createHash('sha256').update(name).digest('hex')
  const mixed = files
    .filter(({ bytes }) => bytes > 0 && bytes <= FILE_BYTES_MAX)
    .map((file) => ({ file, key: order(file) }))
    .toSorted((a, b) => (a.key < b.key ? -1 : 1))
  const chosen: SourceFile[] = []
  let total = 0
  for (const { file } of mixed) {
    if (total + file.bytes > limitBytes) continue
    chosen.push(file)
    total += file.bytes
  }
  return chosen
}

const copyInto = async (folder: string, files: readonly SourceFile[], signal: AbortSignal): Promise<SourceFile[]> => {
  const copied: SourceFile[] = []
  for (const file of files) {
    signal.throwIfAborted()
    const target = path.join(folder, file.path)
    await mkdir(path.dirname(target), { recursive: true })
    const done = await copyFile(file.path, target).then(
      () => true,
      () => false,
    )
    if (done) copied.push(file)
  }
  return copied
}

const make = async (folder: string, size: number, signal: AbortSignal): Promise<void> => {
  const content = path.join(folder, 'content')
  await mkdir(content)
  const all = (await Promise.all(SOURCE_FOLDERS.map(sourceFiles))).flat()
  const files = await copyInto(content, choose(all, size * FILLED_SHARE), signal)
  const options = { timeoutMs: MAKE_TIMEOUT_MS, signal }
  const raw = path.join(folder, 'disk.raw')
  const extended = `hash_seed=${UUID},lazy_itable_init=1`
  await run('mke2fs', ['-q', '-t', 'ext4', '-U', UUID, '-E', extended, '-d', content, raw, `${size / 1024}k`], options)
  await rm(content, { recursive: true })
  await run('qemu-img', ['convert', '-O', 'qcow2', raw, path.join(folder, 'disk.qcow2')], options)
  const fileBytes = files.reduce((sum, { bytes }) => sum + bytes, 0)
  await writeFile(path.join(folder, 'record.json'), JSON.stringify({ size, files: files.length, fileBytes }))
}

/** The image of so many bytes (a multiple of 1 GiB), made in the cache folder when it is not there. */
export const benchImage = async (cache: string, size: number, signal: AbortSignal): Promise<BenchImage> => {
  const folder = path.join(cache, `image-${size / GIB}g-${RECIPE}`)
  const open = async (): Promise<BenchImage> => {
    const record = v.parse(recordSchema, JSON.parse(await readFile(path.join(folder, 'record.json'), 'utf8')))
    const raw = path.join(folder, 'disk.raw')
    const { blocks } = await stat(raw)
    return { ...record, raw, qcow2: path.join(folder, 'disk.qcow2'), allocatedBytes: blocks * 512 }
  }
  const present = await open().catch(() => null)
  if (present !== null) return present
  // Only a finished image gets the name.
  const unfinished = `${folder}.${process.pid}.new`
  try {
    await mkdir(unfinished, { recursive: true })
    await make(unfinished, size, signal)
    await rm(folder, { recursive: true, force: true })
    await rename(unfinished, folder)
  } finally {
    await rm(unfinished, { recursive: true, force: true })
  }
  return open()
}
