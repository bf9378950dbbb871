// The definition of a domain while its disks are brought in.
import { expect, test } from 'vitest'
import { runningXml } from '../../../agent/instant/domain-xml.ts'

const XML = `<domain type='kvm'><name>db1</name><devices>
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><target dev='vda'/><source file='/m/vda.qcow2'/></disk>
<disk type='file' device='disk'><driver name='qemu' type='qcow2' error_policy='report'/><source file='/m/vdb.qcow2'/></disk>
<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='/else/vdc.raw'/></disk>
<disk type='file' device='cdrom'><target dev='sda'/></disk>
</devices></domain>`

test('what is not here yet is read from the export; a disk that stands alone, or is none of these, is not', () => {
  const disk = (name: string, alone: boolean) => ({ name, size: 1, file: `/m/${name}.qcow2`, alone, writtenBytes: 0 })
  const flat = runningXml(XML, [disk('vda', false), disk('vdb', true)], "/m/it's/nbd").replaceAll(/\n\s*/gu, '')
  const stopping = `error_policy='stop' rerror_policy='stop'`
  const source = `<source protocol='nbd' name='vda'><host transport='unix' socket='/m/it&#39;s/nbd'/></source>`
  expect(flat).toContain(
    `<driver name='qemu' type='qcow2' ${stopping}/><target dev='vda'/><source file='/m/vda.qcow2'/>` +
      `<backingStore type='network'><format type='raw'/>${source}<backingStore/></backingStore></disk>`,
  )
  expect(flat).toContain(
    `<driver name='qemu' type='qcow2' ${stopping}/><source file='/m/vdb.qcow2'/><backingStore/></disk>`,
  )
  expect(flat).toContain(`<driver name='qemu' type='raw'/><source file='/else/vdc.raw'/></disk>`)
  expect(() => runningXml('<pool/>', [], '/nbd')).toThrow('domain')
})
