// Keeps a restore from overwriting what is in use: finds its users, and holds QEMU's image lock until it is done.
import { realpath } from 'node:fs/promises'
import path from 'node:path'
import { VarveError } from '../../protocol/errors.ts'
import { deviceNumber, kernelUses, loopFiles, relatedDevices, swapPaths } from './block-device.ts'
import { holdImageLock, ImageLockError, type ImageLock } from './image-lock.ts'
import { deviceKey, fileKey, findOpeners, type FileKey, type Opener, type Wanted } from './openers.ts'
import { targetError } from './target-error.ts'

/** How often users of a target are looked for: brief ones, such as udev and blkid, are waited for. */
const LOOKS_MAX = 5
const LOOK_PAUSE_MS = 300

/** A machine of this host, to name its QEMU. */
export interface KnownMachine {
  readonly name: string
  /** Its monitor's socket, if it has one. */
  readonly address: string
}

/** An existing file or block device that is about to be overwritten or replaced. */
export interface TargetGuard extends AsyncDisposable {
  /** Checks again, with the lock still held; TARGET_IN_USE, TARGET_EXISTS where something else has the name now. */
  check(): Promise<void>
  /** Looks only whether the name is still that of the same file; TARGET_EXISTS. */
  same(): Promise<void>
}

/** What counts as a use of the target, and files whose lock counts too. */
interface Scope {
  readonly wanted: Wanted
  /** The device and its partitions, by number; empty for a file. */
  readonly devices: ReadonlySet<string>
  /** The target itself, and backing files of loop devices below it. */
  readonly images: readonly string[]
}

const keysOf = async (files: readonly string[]): Promise<FileKey[]> =>
  (await Promise.all(files.map(fileKey))).filter((key) => key !== null)

const scopeOf = async (target: string): Promise<Scope> => {
  const number = await deviceNumber(target)
  if (number === null)
    return {
      wanted: { any: new Set(await keysOf([target])), writers: new Set() },
      devices: new Set(),
      images: [target],
    }
  const { own, below, files } = await relatedDevices(number)
  const any = new Set([...[...own].map(deviceKey), ...(await keysOf(files))])
  return { wanted: { any, writers: new Set([...below].map(deviceKey)) }, devices: own, images: [target, ...files] }
}

const describe = async ({ pid, name, guest, sockets }: Opener, machines: readonly KnownMachine[]): Promise<string> => {
  const listening = new Set(await Promise.all(sockets.map((socket) => realpath(socket).catch(() => socket))))
  for (const machine of machines) {
    const socket = await realpath(machine.address).catch(() => path.normalize(machine.address))
    if (listening.has(socket)) return `machine "${machine.name}" has it open (${name}, process ${pid})`
  }
  return guest === null
    ? `${name} (process ${pid}) has it open`
    : `guest "${guest}" has it open (${name}, process ${pid})`
}

/** The kernel's own uses of a file: swap space, loop devices. */
const fileUses = async (target: string): Promise<string[]> => {
  const key = await fileKey(target)
  const uses: string[] = []
  if (key === null) return uses
  for (const swap of await swapPaths()) if ((await fileKey(swap)) === key) uses.push('it is swap space')
  for (const { device, file } of await loopFiles())
    if ((await fileKey(file)) === key) uses.push(`the loop device ${device} lies on it`)
  return uses
}

const inUse = (target: string, uses: readonly string[]): VarveError =>
  new VarveError(
    'TARGET_IN_USE',
    `${target} is in use: ${uses.slice(0, 3).join('; ')}${uses.length > 3 ? `; and ${uses.length - 3} more` : ''}: stop what uses it, or restore to another path; --force does not override this`,
  )

const HELD = "another process, such as a running machine, holds QEMU's lock on it"

/** TARGET_IN_USE for a device that cannot be opened exclusively, with its uses in the kernel. */
export const deviceBusy = async (target: string, machines: readonly KnownMachine[]): Promise<VarveError> => {
  const { devices, wanted } = await scopeOf(target)
  const openers = await findOpeners(wanted, new Set())
  const described = await Promise.all(openers.map((opener) => describe(opener, machines)))
  const uses = [...(await kernelUses(devices)), ...described]
  return inUse(
    target,
    uses.length > 0
      ? uses
      : ['something holds it exclusively (a mount in another namespace, a storage network target)'],
  )
}

class Guard implements TargetGuard {
  readonly #target: string
  readonly #machines: readonly KnownMachine[]
  readonly #scope: Scope
  readonly #key: FileKey | null
  readonly #locks: ImageLock[] = []

  constructor(target: string, machines: readonly KnownMachine[], scope: Scope, key: FileKey | null) {
    this.#target = target
    this.#machines = machines
    this.#scope = scope
    this.#key = key
  }

  /** `own` is a process of ours that has the target open and its lock already. */
  async lock(own: number | null): Promise<void> {
    if (own !== null) this.#locks.push({ pid: own, [Symbol.asyncDispose]: async () => {} })
    for (const [index, image] of this.#scope.images.entries()) {
      if (index === 0 && own !== null) continue
      try {
        this.#locks.push(await holdImageLock(image))
      } catch (error) {
        if (!(error instanceof ImageLockError)) throw error
        if (error.held) {
          const uses = await this.#uses()
          throw inUse(this.#target, uses.length > 0 ? uses : [index === 0 ? HELD : `${HELD}, by way of ${image}`])
        }
        // a file below a loop device that has lost its name can be checked only by its openers
        if (index === 0)
          throw new VarveError('TARGET_INVALID', `cannot write over ${this.#target}: ${error.message}`, {
            cause: error,
          })
      }
    }
  }

  async same(): Promise<void> {
    await this.#isThere()
  }

  async check(signal?: AbortSignal): Promise<void> {
    // without a name nothing is overwritten
    if (!(await this.#isThere())) return
    for (let looks = 1; ; looks++) {
      const uses = await this.#uses()
      if (uses.length === 0) return
      if (looks === LOOKS_MAX) throw inUse(this.#target, uses)
      signal?.throwIfAborted()
      await new Promise((resolve) => setTimeout(resolve, LOOK_PAUSE_MS))
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#locks.map((lock) => lock[Symbol.asyncDispose]()))
  }

  /** Whether the target has its name still; TARGET_EXISTS where something else has it. */
  async #isThere(): Promise<boolean> {
    const key = await fileKey(this.#target)
    if (key === null || key === this.#key) return key !== null
    throw new VarveError(
      'TARGET_EXISTS',
      `${this.#target} is no longer the file it was when the restore began: check it, and restore again`,
    )
  }

  async #uses(): Promise<string[]> {
    const { wanted, devices } = this.#scope
    const openers = await findOpeners(wanted, new Set(this.#locks.map(({ pid }) => pid)))
    const described = await Promise.all(openers.map((opener) => describe(opener, this.#machines)))
    const kernel = devices.size > 0 ? await kernelUses(devices) : await fileUses(this.#target)
    return [...described, ...kernel]
  }
}

/**
 * Takes the image lock of an existing file or block device and looks for its users; the lock is held until disposed. Where a
 * process of ours has it already, `own` is that one. TARGET_IN_USE names the users; TARGET_INVALID, TOOL_MISSING.
 */
export const guardTarget = async (
  target: string,
  machines: readonly KnownMachine[],
  own: number | null = null,
): Promise<TargetGuard> => {
  try {
    const guard = new Guard(target, machines, await scopeOf(target), await fileKey(target))
    try {
      await guard.lock(own)
      await guard.check()
      return guard
    } catch (error) {
      await guard[Symbol.asyncDispose]()
      throw error
    }
  } catch (error) {
    throw targetError(`cannot look at ${target}`, error)
  }
}

/**
 * Looks for users of an existing file or block device without its image lock, so that a machine may start meanwhile: one whose
 * process cannot be seen is not noticed. TARGET_IN_USE names the users; TARGET_INVALID.
 */
export const checkUnused = async (
  target: string,
  machines: readonly KnownMachine[],
  signal: AbortSignal,
): Promise<void> => {
  try {
    await new Guard(target, machines, await scopeOf(target), await fileKey(target)).check(signal)
  } catch (error) {
    throw targetError(`cannot look at ${target}`, error)
  }
}
