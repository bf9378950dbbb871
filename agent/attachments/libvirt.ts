// What goes with a point of a libvirt domain, running or off: its XML, NVRAM, firmware, TPM state and autostart.
import { homedir } from 'node:os'
import { join } from 'node:path'
import { asVarveError } from '../../protocol/errors.ts'
import type { AttachmentSource } from './source.ts'
import { withoutDomainSecrets } from './domain-secrets.ts'
import type { Reader } from './reader.ts'
import { attributeOf, childrenOf, elementAt, readXml, textAt, textOf, type XmlElement } from '../libvirt/xml.ts'

/** Where a system's libvirt keeps the state of TPMs, a folder for each domain's uuid. */
const SYSTEM_SWTPM = '/var/lib/libvirt/swtpm'

export interface DomainFiles {
  /** The domain's own XML, as it is kept while the domain is off, without secrets. */
  readonly xml: string
  /** Null where that could not be asked. */
  readonly autostart: boolean | null
  /** Of the libvirt, which tells whose folders it uses. */
  readonly uri: string
  /** The user whose libvirt it is, who must be allowed to read what the domain names; null where it is not another one's. */
  readonly reader?: Reader | null
  /** Where the states of TPMs are, if not where that libvirt keeps them. */
  readonly swtpmFolder?: string
}

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text)

const isSession = (uri: string): boolean => URL.canParse(uri) && new URL(uri).pathname === '/session'

/** The folder of a libvirt for TPMs: root's, or that of the agent's own user. */
const swtpmFolderOf = ({ uri, swtpmFolder }: DomainFiles): string => {
  if (swtpmFolder !== undefined) return swtpmFolder
  const home = process.env['XDG_CONFIG_HOME'] ?? join(homedir(), '.config')
  return isSession(uri) ? join(home, 'libvirt/qemu/swtpm') : SYSTEM_SWTPM
}

/** A file of an element: as its text, or in a `<source>` of its own. */
const fileOf = (name: string, element: XmlElement): AttachmentSource[] => {
  const source = elementAt(element, 'source')
  const path = source === null ? textOf(element) : (attributeOf(source, 'file') ?? attributeOf(source, 'dev') ?? '')
  if (path.startsWith('/')) return [{ name, path }]
  // without a path it is a template that the first start copies
  return source === null && path === '' ? [] : [{ name, missing: 'it is on no file of this host' }]
}

const firmwareOf = (domain: XmlElement): AttachmentSource[] => {
  const loader = elementAt(domain, 'os/loader')
  const nvram = elementAt(domain, 'os/nvram')
  return [
    ...(nvram === null ? [] : fileOf('nvram', nvram)),
    ...(loader === null || attributeOf(loader, 'type') !== 'pflash' ? [] : fileOf('pflash0', loader)),
  ]
}

const tpmOf = (domain: XmlElement, folder: string): AttachmentSource[] => {
  const devices = elementAt(domain, 'devices')
  const backends = (devices === null ? [] : childrenOf(devices, 'tpm')).flatMap((tpm) => childrenOf(tpm, 'backend'))
  const emulated = backends.find((backend) => attributeOf(backend, 'type') === 'emulator')
  if (emulated === undefined) return []
  const own = attributeOf(elementAt(emulated, 'source'), 'path')
  const uuid = textAt(domain, 'uuid') ?? ''
  if (own?.startsWith('/') === true) return [{ name: 'swtpm', path: own }]
  if (/^[0-9a-f-]{36}$/u.test(uuid)) return [{ name: 'swtpm', path: join(folder, uuid) }]
  return [{ name: 'swtpm', missing: 'the domain has no uuid, by which its TPM is kept' }]
}

/** `domain.xml`, `autostart` (`yes` or `no`), `nvram`, `pflash0` and `swtpm/…`, as far as the domain has them. Never rejects. */
export const libvirtAttachments = (domain: DomainFiles): AttachmentSource[] => {
  const { xml, autostart } = domain
  const known: AttachmentSource[] = [
    { name: 'domain.xml', bytes: utf8(withoutDomainSecrets(xml)) },
    ...(autostart === null ? [] : [{ name: 'autostart', bytes: utf8(autostart ? 'yes\n' : 'no\n') }]),
  ]
  try {
    const root = readXml(xml, { root: 'domain' })
    const { reader = null } = domain
    const named = [...firmwareOf(root), ...tpmOf(root, swtpmFolderOf(domain))]
    return [...known, ...named.map((one) => ('path' in one && reader !== null ? { ...one, reader } : one))]
  } catch (thrown) {
    return [...known, { name: 'nvram', missing: `${asVarveError(thrown).message}, so its files are not known` }]
  }
}
