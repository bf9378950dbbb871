// The domain that is measured: a disk with the image's content, random writes by its own device, and what must lie on it.
import { mkdir, open, rm, writeFile } from 'node:fs/promises'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { give } from '../rig/domain.ts'
import type { Libvirtd } from '../rig/libvirtd.ts'
import { run } from '../rig/run.ts'
import { eventually } from '../support/temp.ts'
import { WRITE_BYTES } from './guest-writes.ts'
import type { BenchImage } from './image.ts'
import type { Watched } from './measure.ts'
import { randomBytesOf, randomIntegers } from './random.ts'

export const DOMAIN = 'bench'

/** Commands that one virsh is given, as an argument may have 128 KiB. */
const COMMANDS_AT_ONCE = 400

/** Longest time from the end of a restore until nothing has its file open, in milliseconds. */
const CLOSE_TIMEOUT_MS = 30_000

const COPY_TIMEOUT_MS = 5 * 60_000

/** No kernel: its firmware finds nothing to start and waits. */
const domainXml = (disk: string): string => `<domain type='qemu'>
  <name>${DOMAIN}</name>
  <memory unit='MiB'>64</memory>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' discard='unmap'/>
      <source file='${disk}'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <memballoon model='none'/>
  </devices>
</domain>
`

/** Disposing it ends the domain and removes all of it. */
export class BenchDomain implements AsyncDisposable {
  readonly #libvirtd: Libvirtd
  readonly #folder: string
  readonly #image: BenchImage
  readonly #signal: AbortSignal

  private constructor(libvirtd: Libvirtd, folder: string, image: BenchImage, signal: AbortSignal) {
    this.#libvirtd = libvirtd
    this.#folder = folder
    this.#image = image
    this.#signal = signal
  }

  /** Defines and starts it in a folder of its own, which must not exist. */
  static async start(libvirtd: Libvirtd, folder: string, image: BenchImage, signal: AbortSignal): Promise<BenchDomain> {
    await mkdir(folder)
    const domain = new BenchDomain(libvirtd, folder, image, signal)
    const disk = path.join(folder, 'disk.qcow2')
    const options = { timeoutMs: COPY_TIMEOUT_MS, signal }
    await run('cp', ['--sparse=always', image.qcow2, disk], options)
    await run('cp', ['--sparse=always', image.raw, domain.truth], options)
    await give(libvirtd, folder, disk)
    const definition = path.join(folder, 'domain.xml')
    await writeFile(definition, domainXml(disk))
    await libvirtd.virsh('define', definition)
    await libvirtd.virsh('start', DOMAIN)
    return domain
  }

  /** A raw file with what lies on the disk, by the image and the writes since. */
  get truth(): string {
    return path.join(this.#folder, 'truth.raw')
  }

  get qemu(): Watched {
    const pid = readFileSync(path.join(this.#libvirtd.pidFolder, `${DOMAIN}.pid`), 'latin1')
    return { name: 'QEMU', pid: Number(pid) }
  }

  /** The names of the domain's checkpoints. */
  async checkpoints(): Promise<string[]> {
    const listed = await this.#libvirtd.virsh('checkpoint-list', DOMAIN, '--name')
    return listed.split('\n').filter((name) => name !== '')
  }

  /** Writes so many random blocks of 4 KiB at random places of the whole disk, and into the truth. */
  async write(count: number, seed: number): Promise<void> {
    const integer = randomIntegers(seed)
    const bytes = randomBytesOf(seed, count * WRITE_BYTES)
    const folder = path.join(this.#folder, 'writes')
    await mkdir(folder)
    const commands: string[] = []
    {
      await using truth = await open(this.truth, 'r+')
      for (let index = 0; index < count; index++) {
        const block = bytes.subarray(index * WRITE_BYTES, (index + 1) * WRITE_BYTES)
        const offset = integer(this.#image.size / WRITE_BYTES) * WRITE_BYTES
        const file = path.join(folder, String(index))
        await writeFile(file, block)
        await truth.write(block, 0, WRITE_BYTES, offset)
        commands.push(`write -q -s ${file} ${offset} ${WRITE_BYTES}`)
      }
    }
    for (let from = 0; from < count; from += COMMANDS_AT_ONCE) {
      this.#signal.throwIfAborted()
      await this.#device(commands.slice(from, from + COMMANDS_AT_ONCE))
    }
    await rm(folder, { recursive: true })
  }

  /** Throws unless a qcow2 file has the content that the disk has; waits for whoever still closes the file. */
  async compare(restored: string): Promise<void> {
    const options = { timeoutMs: COPY_TIMEOUT_MS, signal: this.#signal }
    await eventually(() => run('qemu-img', ['info', restored], options).catch(() => null), CLOSE_TIMEOUT_MS)
    await run('qemu-img', ['compare', '-f', 'raw', '-F', 'qcow2', this.truth, restored], options)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { virsh } = this.#libvirtd
    await virsh('destroy', DOMAIN).catch(() => undefined)
    await virsh('undefine', DOMAIN, '--checkpoints-metadata').catch(() => undefined)
    await rm(this.#folder, { recursive: true, force: true })
  }

  /** Lets the domain's device carry out commands of qemu-io, which say nothing where all went well. */
  async #device(commands: readonly string[]): Promise<void> {
    const device = '/machine/peripheral/virtio-disk0/virtio-backend'
    const line = commands
      .map((command) => `qemu-monitor-command ${DOMAIN} --hmp 'qemu-io -d ${device} "${command}"'`)
      .join('; ')
    const said = (await this.#libvirtd.virsh(line)).trim()
    if (said !== '') throw new Error(`the domain's device said: ${said.slice(0, 500)}`)
  }
}
