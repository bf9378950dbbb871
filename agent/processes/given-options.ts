// The options of a QEMU's command line, each with its value. Pure.

/** Options that QEMU takes without a value; any other one has the next argument as its value. */
const FLAGS: ReadonlySet<string> = new Set(
  `S daemonize nodefaults nodefconfig no-user-config no-reboot no-shutdown nographic snapshot enable-kvm no-kvm usb
  no-acpi no-hpet full-screen alt-grab ctrl-grab no-fd-bootchk no-quit only-migratable singlestep one-insn-per-tb
  win2k-hack preconfig mem-prealloc curses sdl portrait xen-attach xen-domid-restrict async-teardown enable-fips
  semihosting version help h`.split(/\s+/u),
)

export const isFlag = (option: string): boolean => FLAGS.has(option)

/** Options that are read here, of which a value is never one. */
const READ: ReadonlySet<string> = new Set(
  `name uuid smbios qmp qmp-pretty mon monitor chardev device drive blockdev hda hdb hdc hdd readconfig id object`.split(
    /\s+/u,
  ),
)

/** An option of a command line, in its order. */
export interface Given {
  readonly option: string
  readonly value: string
}

const optionOf = (argument: string): string | null =>
  argument.length > 1 && argument.startsWith('-') ? argument.replace(/^--?/u, '') : null

/** The options of a command line without the program; an argument of its own is a disk, as QEMU has it. */
export const givenOf = (args: readonly string[]): readonly Given[] => {
  const given: Given[] = []
  for (let at = 0; at < args.length; at++) {
    const option = optionOf(args[at]!)
    const value = args[at + 1] ?? ''
    if (option === null) given.push({ option: 'hda', value: args[at]! })
    else if (FLAGS.has(option) || READ.has(optionOf(value) ?? '')) given.push({ option, value: '' })
    else {
      given.push({ option, value })
      at++
    }
  }
  return given
}
