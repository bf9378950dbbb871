// Images of disks and what lies under them, changed with QEMU's own tools while the machine is off.
import { copyFile, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises'
import * as v from 'valibot'
import type { Dice } from './model-dice.ts'
import { run } from './run.ts'

export interface Image {
  readonly file: string
  readonly format: 'qcow2' | 'raw'
}

/** A disk of a machine that is off. */
export interface OffDisk {
  readonly iothread: boolean
  /** Its image and what lies under it, the nearest first. */
  readonly chain: readonly [Image, ...Image[]]
  /** What it holds; null where the images are to be asked. */
  readonly content: Buffer | null
}

/** Largest piece that is written into an image, in blocks of 512 bytes. */
const POKE_BLOCKS_MAX = 256

const infoSchema = v.pipe(v.string(), v.parseJson(), v.object({ 'virtual-size': v.number() }))

const sizeOf = async ({ file, format }: Image): Promise<number> =>
  v.parse(infoSchema, await run('qemu-img', ['info', '--output=json', '-f', format, file]))['virtual-size']

/** What a disk over this image reads. */
export const contentOf = async ({ file, format }: Image): Promise<Buffer> => {
  const raw = `${file}.content`
  await run('qemu-img', ['convert', '-f', format, '-O', 'raw', file, raw])
  const content = await readFile(raw)
  await rm(raw)
  return content
}

/** Makes the image of a disk that holds this. */
export const makeImage = async ({ file, format }: Image, content: Buffer): Promise<void> => {
  if (format === 'raw') return await writeFile(file, content)
  const raw = `${file}.content`
  await writeFile(raw, content)
  await run('qemu-img', ['convert', '-q', '-f', 'raw', '-O', format, '-o', 'compat=1.1', raw, file])
  await rm(raw)
}

const poke = async (image: Image, dice: Dice): Promise<void> => {
  const blocks = Math.floor((await sizeOf(image)) / 512)
  const count = 1 + dice.below(Math.min(blocks, POKE_BLOCKS_MAX))
  const first = dice.below(blocks - count + 1)
  const pattern = `${image.file}.pattern`
  await writeFile(pattern, dice.bytes(512 * count))
  const command = `write -s ${pattern} ${512 * first} ${512 * count}`
  await run('qemu-io', ['-f', image.format, '-c', command, image.file])
  await rm(pattern)
}

/** Lays an empty image over a disk, which reads as before. */
export const layOver = async (disk: OffDisk, file: string): Promise<OffDisk> => {
  const [under] = disk.chain
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', under.file, '-F', under.format, file])
  return { ...disk, chain: [{ file, format: 'qcow2' }, ...disk.chain] }
}

/** Puts another image with other content under that of a disk. */
export const rebase = async (disk: OffDisk, file: string, dice: Dice): Promise<OffDisk> => {
  const [top, under] = disk.chain
  if (under === undefined) throw new Error('nothing lies under this disk')
  await run('qemu-img', ['convert', '-q', '-f', under.format, '-O', 'qcow2', under.file, file])
  const other: Image = { file, format: 'qcow2' }
  await poke(other, dice)
  await run('qemu-img', ['rebase', '-u', '-f', top.format, '-b', file, '-F', 'qcow2', top.file])
  return { ...disk, chain: [top, other], content: null }
}

/** Writes into an image that lies under disks; `hidden` sets its time of modification back. */
export const rewrite = async (
  disks: readonly OffDisk[],
  image: Image,
  options: { readonly dice: Dice; readonly hidden: boolean },
): Promise<OffDisk[]> => {
  const { atime, mtime } = await stat(image.file)
  await poke(image, options.dice)
  if (options.hidden) await utimes(image.file, atime, mtime)
  return disks.map((disk) => (liesOver(disk, image) ? { ...disk, content: null } : disk))
}

export const liesOver = ({ chain }: OffDisk, { file }: Image): boolean =>
  chain.slice(1).some((image) => image.file === file)

/** The images of two disks change places. */
export const swapImages = async (one: OffDisk, other: OffDisk): Promise<[OffDisk, OffDisk]> => {
  const [[top, ...under], [otherTop, ...otherUnder]] = [one.chain, other.chain]
  await rename(top.file, `${top.file}.aside`)
  await rename(otherTop.file, top.file)
  await rename(`${top.file}.aside`, otherTop.file)
  return [
    { ...one, chain: [{ ...top, format: otherTop.format }, ...otherUnder], content: other.content },
    { ...other, chain: [{ ...otherTop, format: top.format }, ...under], content: one.content },
  ]
}

/** The image of a disk becomes a copy of that of another one. */
export const copyImage = async (to: OffDisk, from: OffDisk): Promise<OffDisk> => {
  const [[top], [source, ...under]] = [to.chain, from.chain]
  await copyFile(source.file, top.file)
  return { ...to, chain: [{ ...top, format: source.format }, ...under], content: from.content }
}
