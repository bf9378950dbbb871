// A QEMU's command line as it starts the restored machine. What is not known to be harmless on another host is left out, and
// said: the command line comes with the restore point and is believed in nothing. Pure.
import { givenOf, isFlag, type Given } from '../processes/given-options.ts'
import { parseOptions, type Options } from '../processes/option-text.ts'
import { globalOf, isModel, isOwnProperty, optionText, ownProperties } from './qemu-devices.ts'

export interface CommandWishes {
  /** Null: as it was. */
  readonly name: string | null
  /** Another uuid and other MACs. */
  readonly newIds: boolean
  /** The file of each disk, in the folder of the script. */
  readonly disks: ReadonlyMap<string, { readonly file: string; readonly format: string }>
  /** The file of each attachment, in the folder of the script. */
  readonly files: ReadonlyMap<string, string>
  readonly isHere: (path: string) => boolean
  readonly newUuid: () => string
  readonly newMac: () => string
}

export interface MovedCommand {
  /** Options with their values, without the program. */
  readonly words: readonly string[]
  readonly name: string | null
  readonly uuid: string | null
  /** What is not as it was, and what a person has to do, each a sentence. */
  readonly remarks: readonly string[]
}

type Words = readonly string[]

/** Options that say nothing of their host, and stay as they are. */
const KEPT = new Set(
  `m smp cpu accel enable-kvm no-kvm rtc nodefaults no-user-config no-hpet no-acpi no-reboot no-shutdown vga usb
  watchdog watchdog-action overcommit compat action`.split(/\s+/u),
)

/** Options of how it ran, not of what it is; nothing is said of them. */
const SILENT = new Set(
  `qmp qmp-pretty mon monitor pidfile daemonize D d trace msg chroot runas run-with sandbox S incoming id display vnc spice
  nographic no-fd-bootchk no-quit set only-migratable async-teardown blockdev`.split(/\s+/u),
)

/** Options whose value may be JSON. */
const JSON_TAKEN = new Set('device object netdev blockdev display audiodev compat'.split(' '))

const DRIVE_KEYS = 'if id index bus unit cache aio discard detect-zeroes werror rerror copy-on-read'.split(' ')
const NODE_KEYS = 'discard detect-zeroes cache.direct cache.no-flush'.split(' ')

const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/iu

const picked = (options: Options, keys: readonly string[]): Map<string, string> =>
  new Map(keys.flatMap((key) => (options.has(key) ? [[key, options.get(key)!] as const] : [])))

const without = (options: Options, keys: RegExp): Map<string, string> =>
  new Map([...options].filter(([key]) => !keys.test(key)))

const objectOf = (options: Options): Words => ['-object', optionText(options, 'qom-type')]

class Moving {
  readonly remarks: string[] = []
  name: string | null = null
  uuid: string | null = null
  readonly #wishes: CommandWishes
  readonly #given: readonly Given[]
  readonly #nodes: ReadonlyMap<string, Options>
  readonly #attached = new Set<string>()
  readonly #devices: ReadonlyMap<string, string>
  readonly #counts = new Map<string, number>()

  constructor(args: readonly string[], wishes: CommandWishes) {
    this.#wishes = wishes
    this.#given = givenOf(args)
    const optionsOf = (option: string): Options[] =>
      this.#given.filter((one) => one.option === option).map(({ value }) => parseOptions(value, 'driver'))
    this.#nodes = new Map(optionsOf('blockdev').map((options) => [options.get('node-name') ?? '', options]))
    this.#devices = new Map(
      optionsOf('device').flatMap((options) => {
        const drive = options.get('drive')
        return drive === undefined ? [] : [[drive, options.get('id') ?? drive] as const]
      }),
    )
  }

  words(): Words {
    const words = this.#given.flatMap(({ option, value }) => this.#move(option, value))
    const { disks } = this.#wishes
    for (const disk of disks.keys())
      if (!this.#attached.has(disk)) this.#remark(`disk ${disk} is restored, but no option of QEMU had it`)
    const { name } = this.#wishes
    if (name !== null && this.name === null) words.unshift(...this.moveName(''))
    return [...words, ...this.#display(), '-qmp', 'unix:qmp.sock,server=on,wait=off']
  }

  #remark(sentence: string): void {
    if (!this.remarks.includes(sentence)) this.remarks.push(sentence)
  }

  #display(): Words {
    const plain = this.#given.some(
      ({ option, value }) => option === 'nographic' || (option === 'display' && value === 'none'),
    )
    return plain ? ['-display', 'none'] : ['-vnc', 'unix:vnc.sock']
  }

  #move(option: string, value: string): Words {
    if (value.startsWith('{') && !JSON_TAKEN.has(option)) {
      this.#remark(`-${option.slice(0, 40)} is left out: QEMU takes no JSON there`)
      return []
    }
    if (Object.hasOwn(RULES, option)) return RULES[option]!(this, value)
    if (/^hd[a-d]$/u.test(option)) {
      const [bus, unit] = [option > 'hdb' ? 1 : 0, 'ac'.includes(option[2]!) ? 0 : 1]
      return this.#drive(`ide${bus}-hd${unit}`, new Map(Object.entries({ if: 'ide', index: String(bus * 2 + unit) })))
    }
    // one without its value would take the next option for it
    if (KEPT.has(option)) return isFlag(option) ? [`-${option}`] : [`-${option}`, value]
    if (!SILENT.has(option)) this.#remark(`-${option.slice(0, 40)} is left out`)
    return []
  }

  /** A drive with the disk's new file; nothing where the point does not have the disk. */
  #drive(disk: string, kept: Options): Words {
    const now = this.#wishes.disks.get(disk)
    if (now === undefined) {
      this.#remark(`disk ${disk} is not in the restore point: the machine comes without it`)
      return []
    }
    this.#attached.add(disk)
    return ['-drive', optionText(new Map([...kept, ['format', now.format], ['file', now.file]]))]
  }

  moveDrive(value: string): Words {
    const options = parseOptions(value)
    const kind = options.get('if') ?? 'ide'
    const at = this.#counts.get(kind) ?? 0
    this.#counts.set(kind, at + 1)
    if (options.get('media') === 'cdrom') {
      this.#remark('its CD-ROM drive is empty')
      const kept = picked(options, ['if', 'id', 'index', 'bus', 'unit'])
      return ['-drive', optionText(new Map([...kept, ['media', 'cdrom']]))]
    }
    const unit = options.get('unit') ?? String(at)
    if (kind === 'pflash' && options.get('readonly') === 'on') return this.#firmware(unit, options)
    const named =
      kind === 'pflash' ? `pflash${unit}` : kind === 'virtio' ? `virtio${at}` : `${kind}${at >> 1}-hd${at % 2}`
    const id = options.get('id') ?? named
    return this.#drive(kind === 'none' ? (this.#devices.get(id) ?? id) : id, picked(options, DRIVE_KEYS))
  }

  #firmware(unit: string, options: Options): Words {
    const { files, isHere } = this.#wishes
    const path = options.get('file') ?? ''
    const restored = files.get(`pflash${unit}`)
    const own = path.startsWith('/usr/share/') && !path.includes('/../') && isHere(path) ? path : restored
    if (own === undefined) {
      this.#remark(`its firmware ${path.slice(0, 200)} is not here, nor in the restore point`)
      return []
    }
    const kept = Object.fromEntries(picked(options, ['if', 'unit', 'id']))
    return ['-drive', optionText({ ...kept, format: 'raw', readonly: 'on', file: own })]
  }

  moveDevice(value: string): Words {
    const options = parseOptions(value, 'driver')
    const driver = options.get('driver') ?? ''
    const what = `device ${driver.slice(0, 60)}`
    const drive = options.get('drive')
    if (!isModel(driver)) {
      this.#remark(`${what} is left out, as it may be of its host`)
      return []
    }
    const own = ownProperties(options)
    const made: string[] = []
    if (drive !== undefined) {
      const disk = this.#devices.get(drive) ?? drive
      const node = this.#nodes.get(drive)
      if (/-cd$|^floppy$/u.test(driver)) own.delete('drive')
      else if (!this.#wishes.disks.has(disk)) {
        this.#remark(`disk ${disk} is not in the restore point: the machine comes without it`)
        return []
      } else if (node !== undefined) made.push(...this.#node(disk, drive, node))
    }
    if (own.has('mac') && this.#wishes.newIds) own.set('mac', this.#wishes.newMac())
    else if (own.has('netdev') && this.#wishes.newIds) own.set('mac', this.#wishes.newMac())
    if (driver === 'vmgenid') own.set('guid', 'auto')
    return [...made, '-device', optionText(own, 'driver')]
  }

  /** The node of a disk; nodes over and below it are gone. */
  #node(disk: string, id: string, before: Options): Words {
    const { file, format } = this.#wishes.disks.get(disk)!
    this.#attached.add(disk)
    const driver = before.get('driver') ?? ''
    if (!['raw', 'qcow2', 'file', 'host_device'].includes(driver))
      this.#remark(`disk ${disk} went through "${driver.slice(0, 40)}": it does not any more`)
    const node = new Map([['driver', format], ['node-name', id], ...picked(before, NODE_KEYS)])
    return ['-blockdev', optionText(node.set('file.driver', 'file').set('file.filename', file))]
  }

  moveMachine(value: string): Words {
    const options = parseOptions(value, 'type')
    const made: string[] = []
    const kept = without(
      options,
      /^(?:firmware|kernel|initrd|append|dtb|dumpdtb|memory-backend|shim|pflash\d)$|guest-support/u,
    )
    for (const key of ['pflash0', 'pflash1']) {
      const id = options.get(key)
      if (id === undefined) continue
      const now = [id, key].map((disk) => this.#wishes.disks.get(disk)).find((found) => found !== undefined)
      const path = now?.file ?? this.#wishes.files.get(key)
      if (path === undefined) {
        this.#remark(`its firmware ${key} is not in the restore point`)
        continue
      }
      for (const disk of [id, key]) if (this.#wishes.disks.has(disk)) this.#attached.add(disk)
      const node = { driver: now?.format ?? 'raw', 'node-name': id, 'read-only': now === undefined ? 'on' : 'off' }
      made.push('-blockdev', optionText({ ...node, 'file.driver': 'file', 'file.filename': path }))
      kept.set(key, id)
    }
    return [...made, '-machine', optionText(kept, 'type')]
  }

  moveName(value: string): Words {
    const options = parseOptions(value, 'guest')
    this.name = this.#wishes.name ?? options.get('guest') ?? null
    const kept = picked(options, ['process', 'debug-threads'])
    return ['-name', optionText(new Map([['guest', this.name ?? ''], ...kept]))]
  }

  moveUuid(value: string): Words {
    this.uuid = this.#wishes.newIds || !UUID.test(value) ? this.#wishes.newUuid() : value.toLowerCase()
    return ['-uuid', this.uuid]
  }

  moveBoard(value: string): Words {
    const options = parseOptions(value)
    if (options.has('file') || options.has('path')) {
      this.#remark('tables of its firmware were in a file of its host (-smbios)')
      return []
    }
    if (!options.has('uuid')) return ['-smbios', value]
    const [, uuid = ''] = this.moveUuid(options.get('uuid')!)
    return ['-smbios', optionText(new Map([...options, ['uuid', uuid]]))]
  }

  moveObject(value: string): Words {
    const options = parseOptions(value, 'qom-type')
    const type = options.get('qom-type') ?? ''
    if (['iothread', 'rng-builtin', 'throttle-group'].includes(type)) return objectOf(options)
    if (['memory-backend-ram', 'memory-backend-memfd'].includes(type))
      return objectOf(without(options, /^(?:host-nodes|policy|hugetlb.*)$/u))
    if (type === 'rng-random') return objectOf(new Map([...options, ['filename', '/dev/urandom']]))
    this.#remark(`object ${type.slice(0, 40)} is left out`)
    return []
  }

  moveNetwork(value: string): Words {
    const options = parseOptions(value, 'type')
    const type = options.get('type') ?? ''
    const id = options.get('id') ?? ''
    if (type !== 'user' || options.size > 2)
      this.#remark(
        `network ${id.slice(0, 40)} was "${type.slice(0, 40)}": it is QEMU's own (user) now, until the script says otherwise`,
      )
    return ['-netdev', optionText({ type: 'user', id }, 'type')]
  }

  moveCard(value: string): Words {
    if (value === 'none') return ['-nic', 'none']
    const options = parseOptions(value, 'type')
    const kept = picked(options, ['model', 'mac'])
    if (this.#wishes.newIds) kept.set('mac', this.#wishes.newMac())
    if (options.get('type') !== 'user' || options.has('hostfwd') || options.has('guestfwd'))
      this.#remark("its network is QEMU's own (user) now, until the script says otherwise")
    return ['-nic', optionText(new Map([['type', 'user'], ...kept]), 'type')]
  }

  moveCharacters(value: string): Words {
    const options = parseOptions(value, 'backend')
    const id = options.get('id') ?? ''
    const isSocket = options.get('backend') === 'socket' && options.get('server') === 'on' && options.has('path')
    const to = isSocket
      ? {
          backend: 'socket',
          id,
          path: `${id.replaceAll(/[^\w-]/gu, '_').slice(0, 60)}.sock`,
          server: 'on',
          wait: 'off',
        }
      : { backend: 'null', id }
    if (!isSocket) this.#remark(`the character device ${id.slice(0, 40)} is connected to nothing`)
    return ['-chardev', optionText(to, 'backend')]
  }

  movePort(option: string, value: string): Words {
    return [`-${option}`, ['none', 'null', 'pty'].includes(value) ? value : 'null']
  }

  moveBoot(value: string): Words {
    return ['-boot', optionText(without(parseOptions(value, 'order'), /^splash/u))]
  }

  moveGlobal(value: string): Words {
    const global = globalOf(value)
    if (global !== null && isOwnProperty(global.property)) return ['-global', optionText(global)]
    this.#remark(`-global ${value.slice(0, 80)} is left out`)
    return []
  }

  moveSound(value: string): Words {
    const id = parseOptions(value, 'driver').get('id') ?? ''
    return ['-audiodev', optionText({ driver: 'none', id }, 'driver')]
  }
}

const RULES: Readonly<Record<string, (moving: Moving, value: string) => Words>> = {
  drive: (moving, value) => moving.moveDrive(value),
  device: (moving, value) => moving.moveDevice(value),
  machine: (moving, value) => moving.moveMachine(value),
  M: (moving, value) => moving.moveMachine(value),
  name: (moving, value) => moving.moveName(value),
  uuid: (moving, value) => moving.moveUuid(value),
  smbios: (moving, value) => moving.moveBoard(value),
  object: (moving, value) => moving.moveObject(value),
  netdev: (moving, value) => moving.moveNetwork(value),
  nic: (moving, value) => moving.moveCard(value),
  chardev: (moving, value) => moving.moveCharacters(value),
  global: (moving, value) => moving.moveGlobal(value),
  boot: (moving, value) => moving.moveBoot(value),
  audiodev: (moving, value) => moving.moveSound(value),
  serial: (moving, value) => moving.movePort('serial', value),
  parallel: (moving, value) => moving.movePort('parallel', value),
}

/** `args` is without the program. */
export const movedCommand = (args: readonly string[], wishes: CommandWishes): MovedCommand => {
  const moving = new Moving(args, wishes)
  const words = moving.words()
  const { name, uuid, remarks } = moving
  return { words, name, uuid, remarks }
}
