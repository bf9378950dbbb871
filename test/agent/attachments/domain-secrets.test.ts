// A domain's XML as it goes with a point: what is secret and passes libvirt by is removed, and nothing else changes.
import { expect, test } from 'vitest'
import { withoutDomainSecrets } from '../../../agent/attachments/domain-secrets.ts'
import { readXml } from '../../../agent/libvirt/xml.ts'

const SECRET = 'hunter2'

const domain = (inner: string): string =>
  `<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'><name>db1</name>${inner}</domain>`

test.each([
  `<qemu:commandline><qemu:arg value='-object'/><qemu:arg value='secret,id=s0,data=${SECRET}'/></qemu:commandline>`,
  `<qemu:commandline><qemu:arg value="-drive"/><qemu:arg value="file=https://a:${SECRET}@h/it&apos;s"/></qemu:commandline>`,
  `<qemu:commandline><qemu:arg value='-object'/><qemu:arg value='{&quot;qom-type&quot;:&quot;secret&quot;,&#34;data&quot;:&quot;${SECRET}&quot;}'/></qemu:commandline>`,
  `<sysinfo type='smbios'><oemStrings><entry>io.systemd.credential:root=${SECRET}</entry></oemStrings></sysinfo>`,
  `<sysinfo type='fwcfg'><entry name='opt/io.systemd.credentials/root'>${SECRET}</entry></sysinfo>`,
])('%s', (inner) => {
  const cleaned = withoutDomainSecrets(domain(inner))
  expect(cleaned).not.toContain(SECRET)
  expect(cleaned).toContain('&lt;removed&gt;')
  readXml(cleaned, { root: 'domain' })
})

test('what is no secret stays as libvirt wrote it', () => {
  const xml = domain(
    `<description>io.systemd.credential:x=y</description><qemu:commandline><qemu:arg value='-fw_cfg'/>` +
      `<qemu:arg value="name=opt/a,string=&lt;b&gt; it&apos;s"/></qemu:commandline>` +
      `<sysinfo type='fwcfg'><entry name='opt/a'>kept</entry></sysinfo>`,
  )
  expect(withoutDomainSecrets(xml)).toBe(xml)
})
