// A domain's XML without what libvirt does not know to be secret: arguments that go to QEMU as they are, and credentials. Pure.
import { REMOVED, withoutSecretsOf } from './command-line.ts'

const ENTITIES: Readonly<Record<string, string>> = { lt: '<', gt: '>', amp: '&', quot: '"', apos: "'" }

const unescaped = (text: string): string =>
  text.replaceAll(/&(?:#(\d{1,7})|#x([\da-fA-F]{1,6})|(lt|gt|amp|quot|apos));/gu, (whole, decimal, hex, name) => {
    if (name !== undefined) return ENTITIES[name as string]!
    const code = decimal === undefined ? Number.parseInt(hex as string, 16) : Number(decimal)
    return code <= 0x10_ffff ? String.fromCodePoint(code) : (whole as string)
  })

const escaped = (text: string): string =>
  text.replaceAll(
    /[<>&"'\n\t\r]/gu,
    (one) =>
      `&${Object.entries(ENTITIES).find(([, character]) => character === one)?.[0] ?? `#${one.codePointAt(0)}`};`,
  )

/** An argument of QEMU, as `<qemu:arg value='…'/>`. */
const ARGUMENT = /(<[\w-]+:arg\s+value\s*=\s*)(?:'([^']*)'|"([^"]*)")/gu

/** Credentials for the guest's systemd: an OEM string of SMBIOS, and a file of the firmware's configuration. */
const OEM_STRING = /(<entry>\s*io\.systemd\.credential(?:\.binary)?:[^=<]*)=[^<]*/gu
const FIRMWARE_FILE = /(<entry\s+name\s*=\s*['"]opt\/io\.systemd\.credentials?\/[^'"]*['"]\s*>)[^<]*/gu

/** Everything else stays as libvirt wrote it. */
export const withoutDomainSecrets = (xml: string): string => {
  const args = Array.from(xml.matchAll(ARGUMENT), ([, , single, double]) => unescaped(single ?? double ?? ''))
  const cleaned = withoutSecretsOf(args)
  let at = -1
  return xml
    .replaceAll(ARGUMENT, (whole, before: string) => {
      at++
      return cleaned[at] === args[at] ? whole : `${before}'${escaped(cleaned[at]!)}'`
    })
    .replaceAll(OEM_STRING, `$1=${escaped(REMOVED)}`)
    .replaceAll(FIRMWARE_FILE, `$1${escaped(REMOVED)}`)
}
