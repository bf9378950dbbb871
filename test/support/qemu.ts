// A real QEMU without an operating system, whose guest writes the test makes by hand.
import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { QmpClient } from '../../agent/qmp/client.ts'
import type { QmpEvent } from '../../agent/qmp/message.ts'
import { run } from './run.ts'
import { eventually } from './temp.ts'

/** Major version of the QEMU that the tests run; 0 where there is none. */
export const qemuMajor = (): number => {
  try {
    return Number(
      /version (\d+)\./u.exec(execFileSync('qemu-system-x86_64', ['--version'], { encoding: 'utf8' }))?.[1] ?? 0,
    )
  } catch {
    return 0
  }
}

export interface TestDisk {
  /** Device id, also the node's name. */
  readonly id: string
  readonly format: 'qcow2' | 'raw'
  readonly file: string
  /** Size in bytes of the file that is made when there is none. */
  readonly size: number
  readonly iothread?: boolean
  readonly compat?: '0.10' | '1.1'
  /** Of a qcow2 image, 64 KiB if absent. */
  readonly clusterBytes?: number
}

export interface TestMachineOptions {
  readonly folder: string
  readonly disks: readonly TestDisk[]
  readonly name?: string
  /** More arguments for QEMU. */
  readonly extra?: readonly string[]
}

const makeDisk = async (disk: TestDisk): Promise<void> => {
  if (existsSync(disk.file)) return
  if (disk.format === 'raw') {
    await writeFile(disk.file, '')
    await truncate(disk.file, disk.size)
    return
  }
  await run('qemu-img', [
    'create',
    '-q',
    '-f',
    'qcow2',
    '-o',
    `compat=${disk.compat ?? '1.1'},cluster_size=${disk.clusterBytes ?? 65_536}`,
    disk.file,
    String(disk.size),
  ])
}

const diskArguments = (disk: TestDisk): string[] => {
  const node = {
    driver: disk.format,
    'node-name': disk.id,
    discard: 'unmap',
    file: { driver: 'file', 'node-name': `${disk.id}-file`, filename: disk.file, discard: 'unmap' },
  }
  const iothread = disk.iothread === true ? ',iothread=iot0' : ''
  return ['-blockdev', JSON.stringify(node), '-device', `virtio-blk-pci,drive=${disk.id},id=${disk.id}${iothread}`]
}

const BARE = '-S -nodefaults -no-user-config -display none -machine q35,accel=tcg -m 64 -object iothread,id=iot0'.split(
  ' ',
)

const machineArguments = (options: TestMachineOptions, sockets: readonly string[]): string[] =>
  [
    BARE,
    ['-name', options.name ?? 'test'],
    sockets.flatMap((path) => ['-qmp', `unix:${path},server=on,wait=off`]),
    options.disks.flatMap(diskArguments),
    options.extra ?? [],
  ].flat()

/** A running QEMU: `qmpPath` is the socket for the code under test, `control` the test's own connection. */
export class TestMachine implements AsyncDisposable {
  readonly qmpPath: string
  readonly events: QmpEvent[] = []
  /** What QEMU wrote to its standard error. */
  readonly errors: string[] = []
  readonly #controlPath: string
  #options: TestMachineOptions
  #process: ChildProcess | null = null
  #control: QmpClient | null = null
  #output: string[] = []

  constructor(options: TestMachineOptions) {
    this.#options = options
    this.qmpPath = join(options.folder, 'qmp.sock')
    this.#controlPath = join(options.folder, 'control.sock')
  }

  get control(): QmpClient {
    if (this.#control === null) throw new Error('the test machine is not running')
    return this.#control
  }

  get pid(): number {
    const pid = this.#process?.pid
    if (pid === undefined) throw new Error('the test machine is not running')
    return pid
  }

  /** The image of a disk. */
  fileOf(disk: string): string {
    const found = this.#options.disks.find(({ id }) => id === disk)
    if (found === undefined) throw new Error(`the test machine has no disk ${disk}`)
    return found.file
  }

  async start(options: Partial<TestMachineOptions> = {}): Promise<void> {
    this.#options = { ...this.#options, ...options }
    for (const disk of this.#options.disks) await makeDisk(disk)
    const args = machineArguments(this.#options, [this.qmpPath, this.#controlPath])
    // without line buffering the outcome of a guest write would be seen only when QEMU ends
    const child = spawn('stdbuf', ['-oL', 'qemu-system-x86_64', ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
    this.#process = child
    this.#output = []
    const collect = (chunk: Buffer): void => void this.#output.push(chunk.toString())
    child.stdout.on('data', collect)
    child.stderr.on('data', (chunk: Buffer) => void this.errors.push(chunk.toString()))
    this.#control = await eventually(async () => {
      if (child.exitCode !== null) throw new Error(`QEMU ended: ${this.errors.join('')}`)
      return await QmpClient.connect({ path: this.#controlPath }).catch(() => null)
    })
    this.#control.subscribe((event) => void this.events.push(event))
  }

  /**
   * One `qemu-io` command against a disk, or the device of a path, as the guest's device would do it; throws when the disk
   * refuses.
   */
  async guestIo(disk: string, command: string): Promise<void> {
    const before = this.#output.join('').length
    const device = disk.startsWith('/') ? disk : `/machine/peripheral/${disk}/virtio-backend`
    const line = `qemu-io -d ${device} "${command}"`
    await this.control.execute('human-monitor-command', { 'command-line': line })
    const lines = (): string[] => this.#output.join('').slice(before).split('\n')
    const [outcome = ''] = await eventually(() => lines().length > 1 && lines())
    const refused = !/^(wrote|read|discard) (\d+)\/\2 bytes/.test(outcome)
    // two lines of figures follow bytes that are not as expected, and one anything that was done
    const more = outcome.startsWith('Pattern') ? 2 : refused ? 0 : 1
    await eventually(() => lines().length > 1 + more)
    if (refused) throw new Error(`${command}: ${outcome}`)
  }

  guestWrite(disk: string, pattern: number, offset: number, length: number): Promise<void> {
    return this.guestIo(disk, `write -P ${pattern} ${offset} ${length}`)
  }

  guestZero(disk: string, offset: number, length: number): Promise<void> {
    return this.guestIo(disk, `write -z ${offset} ${length}`)
  }

  guestDiscard(disk: string, offset: number, length: number): Promise<void> {
    return this.guestIo(disk, `discard ${offset} ${length}`)
  }

  /** Ends QEMU cleanly: persistent bitmaps are stored. */
  async quit(): Promise<void> {
    await this.#end(async () => {
      await this.control.execute('quit').catch(() => undefined)
    })
  }

  /** Ends QEMU as a crash does. */
  async kill9(): Promise<void> {
    await this.#end(() => void this.#process?.kill('SIGKILL'))
  }

  async restart(options: Partial<TestMachineOptions> = {}): Promise<void> {
    await this.quit()
    await this.start(options)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#process !== null) await this.kill9()
  }

  async #end(how: () => void | Promise<void>): Promise<void> {
    const child = this.#process
    if (child === null) return
    const exited = child.exitCode === null && child.signalCode === null ? once(child, 'exit') : null
    await how()
    await exited
    this.#control?.close()
    this.#control = null
    this.#process = null
  }
}

/** Starts a machine (about 0.2 s); `await using` ends it. */
export const startMachine = async (options: TestMachineOptions): Promise<TestMachine> => {
  const machine = new TestMachine(options)
  await machine.start()
  return machine
}
