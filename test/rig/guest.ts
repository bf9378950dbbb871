// Boots the test guest in QEMU with two disks and follows what it says on its serial console.
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { open } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { GuestImage } from './build-guest.ts'
import { parseReport, type GuestReport } from './reports.ts'

export interface GuestDisk {
  /** The device id in QEMU. The guest takes the first disk for its "a" and the second for its "b". */
  readonly id: string
  readonly file: string
  readonly format: 'raw' | 'qcow2'
}

export interface GuestOptions {
  readonly image: Pick<GuestImage, 'kernel' | 'initrd'>
  /** QEMU, `qemu-system-x86_64` unless given. */
  readonly program?: string
  /** Where the console log and QEMU's own log go. */
  readonly folder: string
  /** Name of the logs and of the machine in QEMU. */
  readonly name: string
  readonly disks: readonly GuestDisk[]
  /** More kernel arguments, such as `verify`. */
  readonly append?: string
  /** Paths of QMP sockets to make; each serves one client at a time. */
  readonly qmp?: readonly string[]
  /** Path of the guest agent's socket to make. */
  readonly guestAgent?: string
}

/** Memory of the guest. */
export const MEMORY_MIB = 192
/** How often the console is looked at, in milliseconds. */
const CONSOLE_POLL_MS = 25
/** Longest time that the guest may take to say something it is waited for, in milliseconds. */
const SAY_TIMEOUT_MS = 120_000
/** Longest time from SIGTERM to the end of QEMU, in milliseconds; then it is killed. */
const STOP_TIMEOUT_MS = 10_000
const READ_BYTES = 64 * 1024

const diskArguments = ({ id, file, format }: GuestDisk): string[] => {
  const node = {
    'node-name': `${id}-format`,
    driver: format,
    discard: 'unmap',
    file: { driver: 'file', filename: file, discard: 'unmap' },
  }
  return ['-blockdev', JSON.stringify(node), '-device', `virtio-blk-pci,drive=${id}-format,id=${id}`]
}

const guestAgentArguments = (socket: string): string[] =>
  [
    ['-device', 'virtio-serial-pci', '-chardev', `socket,id=guest-agent,path=${socket},server=on,wait=off`],
    ['-device', 'virtserialport,chardev=guest-agent,name=org.qemu.guest_agent.0'],
  ].flat()

/** The kernel's command line of a guest. */
export const kernelArguments = ({ append = '' }: Pick<GuestOptions, 'append'>): string =>
  `console=ttyS0 quiet loglevel=1 panic=-1 ${append}`.trim()

/** Where a guest's console is written. */
export const consoleLogOf = ({ folder, name }: Pick<GuestOptions, 'folder' | 'name'>): string =>
  path.join(folder, `${name}.console.log`)

/** Emulation is slower than KVM, but it works wherever QEMU does; a /dev/kvm may be there and boot no kernel. */
const qemuArguments = (options: GuestOptions, consoleLog: string): string[] =>
  [
    ['-name', options.name, '-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
    ['-machine', 'q35,accel=tcg', '-cpu', 'max', '-smp', '1', '-m', String(MEMORY_MIB)],
    ['-kernel', options.image.kernel, '-initrd', options.image.initrd],
    ['-append', kernelArguments(options)],
    ['-serial', `file:${consoleLog}`],
    ...(options.qmp ?? []).map((socket) => ['-qmp', `unix:${socket},server=on,wait=off`]),
    ...options.disks.map(diskArguments),
    options.guestAgent === undefined ? [] : guestAgentArguments(options.guestAgent),
  ].flat()

/** The QEMU of a guest, whoever started it. */
export interface GuestProcess {
  readonly pid: number
  /** Resolves when it has ended. */
  readonly exited: Promise<unknown>
  /** Ends it, as when the power fails, without waiting for it. */
  stop(): void
  kill(): void
}

const childProcess = (child: ChildProcess): GuestProcess => {
  if (child.pid === undefined) throw new Error('QEMU did not start')
  return {
    pid: child.pid,
    exited: once(child, 'exit'),
    stop: () => child.kill('SIGTERM'),
    kill: () => child.kill('SIGKILL'),
  }
}

/** A booted test guest. It runs in a process group of its own; disposing it stops it. */
export class Guest implements AsyncDisposable {
  /** The workload's reports in the order in which they came. */
  readonly reports: GuestReport[] = []
  /** All complete console lines. */
  readonly lines: string[] = []
  readonly #process: GuestProcess
  readonly #exited: Promise<unknown>
  readonly #following: Promise<void>
  #over = false

  constructor(process: GuestProcess, consoleLog: string) {
    this.#process = process
    this.#exited = process.exited.then(() => (this.#over = true))
    this.#following = this.#follow(consoleLog)
  }

  get pid(): number {
    return this.#process.pid
  }

  /** The first line, from line number `from` on, that matches; throws after two minutes or when QEMU ends without it. */
  async said(pattern: RegExp, from = 0): Promise<string> {
    const deadlineMs = performance.now() + SAY_TIMEOUT_MS
    let next = from
    for (;;) {
      const over = this.#over
      if (over) await this.#following
      for (; next < this.lines.length; next += 1) {
        const line = this.lines[next]
        if (line !== undefined && pattern.test(line)) return line
      }
      if (over) throw new Error(`QEMU ended before the guest said ${pattern}; last: ${this.#tail()}`)
      if (performance.now() > deadlineMs) throw new Error(`the guest did not say ${pattern}; last: ${this.#tail()}`)
      await sleep(CONSOLE_POLL_MS)
    }
  }

  /** Waits until the workload has made `count` reports in all. */
  async reported(count: number): Promise<void> {
    await this.said(new RegExp(`^REPORT ${count} `))
  }

  /** True once QEMU has ended. */
  get over(): boolean {
    return this.#over
  }

  /** Resolves when QEMU has ended, by `stop` or because the guest turned itself off. */
  async ended(): Promise<void> {
    await this.#exited
    await this.#following
  }

  /** Ends QEMU, as when the power fails, and waits for it. */
  async stop(): Promise<void> {
    if (!this.#over) this.#process.stop()
    const killer = setTimeout(() => this.#process.kill(), STOP_TIMEOUT_MS)
    await this.ended()
    clearTimeout(killer)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  #tail(): string {
    return this.lines.slice(-5).join(' | ')
  }

  async #follow(consoleLog: string): Promise<void> {
    await using log = await open(consoleLog, 'a+')
    const buffer = Buffer.alloc(READ_BYTES)
    let position = 0
    let rest = ''
    for (;;) {
      const over = this.#over
      const { bytesRead } = await log.read(buffer, 0, READ_BYTES, position)
      position += bytesRead
      const pieces = (rest + buffer.toString('latin1', 0, bytesRead)).split(/\r*\n/)
      rest = pieces.pop() ?? ''
      const receivedMs = Date.now()
      for (const line of pieces) this.#take(line, receivedMs)
      if (over && bytesRead === 0) return
      if (bytesRead === 0) await sleep(CONSOLE_POLL_MS)
    }
  }

  #take(line: string, receivedMs: number): void {
    this.lines.push(line)
    const report = parseReport(line, receivedMs)
    if (report !== undefined) this.reports.push(report)
  }
}

/** Starts QEMU with the guest and returns at once; wait with `said(/^READY/)` for the end of the boot. */
export const bootGuest = async (options: GuestOptions): Promise<Guest> => {
  const consoleLog = consoleLogOf(options)
  await using log = await open(path.join(options.folder, `${options.name}.qemu.log`), 'a')
  const child = spawn(options.program ?? 'qemu-system-x86_64', qemuArguments(options, consoleLog), {
    detached: true,
    stdio: ['ignore', log.fd, log.fd],
  })
  await once(child, 'spawn')
  return new Guest(childProcess(child), consoleLog)
}
