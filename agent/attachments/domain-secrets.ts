// A domain's XML without what libvirt does not know to be secret: arguments that go to QEMU as they are, and credentials. Pure.
import { REMOVED, withoutSecretsOf } from './command-line.ts'

const ENTITIES: Readonly<Record<string, string>> = { lt: '<', gt: '>', amp: '&', quot: '"', apos: "'" }

const character = (entity: string): string | null => {
  const [, decimal, hex] = /^#(?:(\d+)|x([\da-fA-F]+))$/u.exec(entity) ?? []
  if (decimal === undefined && hex === undefined) return ENTITIES[entity] ?? null
  const code = decimal === undefined ? Number.parseInt(hex!, 16) : Number(decimal)
  return code <= 0x10_ffff ? String.fromCodePoint(code) : null
}

const unescaped = (text: string): string =>
  text.replaceAll(
    /&(#\d{1,7}|#x[\da-fA-F]{1,6}|lt|gt|amp|quot|apos);/gu,
    (whole, entity: string) => character(entity) ?? whole,
  )

const escaped = (text: string): string =>
  text.replaceAll(
    /[<>&"'\n\t\r]/gu,
    (one) => `&${Object.entries(ENTITIES).find(([, other]) => other === one)?.[0] ?? `#${one.codePointAt(0)}`};`,
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
    .replaceAll(ARGUMENT, (whole: string, before: string) => {
      at++
      return cleaned[at] === args[at] ? whole : `${before}'${escaped(cleaned[at]!)}'`
    })
    .replaceAll(OEM_STRING, `$1=${escaped(REMOVED)}`)
    .replaceAll(FIRMWARE_FILE, `$1${escaped(REMOVED)}`)
}
