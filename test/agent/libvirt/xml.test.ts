// Reading and writing XML. Goal: nothing that libvirt or a file could send hangs or exhausts the agent, and nothing that is
// written can become markup. Method: small documents, hostile documents, and generated text that goes there and back.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  attributeOf,
  childrenOf,
  elementAt,
  escapeXml,
  readXml,
  textAt,
  textOf,
  xml,
  XML_CHARS_MAX,
  XML_DEPTH_MAX,
} from '../../../agent/libvirt/xml.ts'

const DOMAIN = `<?xml version='1.0'?>
<!-- a comment > with a sign -->
<domain type='kvm'>
  <name>db &amp; <![CDATA[<1>]]></name>
  <devices>
    <disk type='file'><source file="/a 'b'>.qcow2"/><target dev='vda'/></disk>
    <disk type='block'/>
  </devices>
</domain>`

test('elements, attributes and text are found', () => {
  const domain = readXml(DOMAIN, { root: 'domain' })
  expect(textAt(domain, 'name')).toBe('db & <1>')
  expect(childrenOf(elementAt(domain, 'devices')!, 'disk').map((disk) => attributeOf(disk, 'type'))).toEqual([
    'file',
    'block',
  ])
  expect(childrenOf(domain).map(({ name }) => name)).toEqual(['name', 'devices'])
  expect(attributeOf(elementAt(domain, 'devices/disk/source'), 'file')).toBe("/a 'b'>.qcow2")
  expect(attributeOf(elementAt(domain, 'devices/disk/source'), 'toString')).toBeNull()
  expect(attributeOf(null, 'file')).toBeNull()
  expect(elementAt(domain, 'devices/none/deeper')).toBeNull()
  expect(textAt(domain, 'none')).toBeNull()
  expect(textOf(elementAt(domain, 'devices'))).toBe('')
})

test.each([
  ['another root', '<pool/>', /a <domain> document was expected, not <pool>/],
  ['no document', '', /cannot be read/],
  ['an entity that is not declared', '<domain>&bomb;</domain>', /cannot be read/],
  [
    'a document type, which could declare entities',
    '<!DOCTYPE domain [<!ENTITY a "b">]><domain>&a;</domain>',
    /document type/,
  ],
  ['a tag without an end', '<domain name="', /ends within a tag/],
  ['comments without an end', '<!--'.repeat(500_000), /ends within a tag/],
  ['a tag that is not closed', '<domain><a></domain>', /cannot be read/],
  ['nesting beyond the limit', '<domain>'.repeat(400_000), /nested deeper than 64/],
  ['more text than the limit', `<domain>${'x'.repeat(XML_CHARS_MAX)}</domain>`, /more than 4194304 characters/],
])('%s is refused at once', (_what, text, why) => {
  const start = performance.now()
  expect(() => readXml(text, { root: 'domain' })).toThrow(
    expect.objectContaining({ code: 'LIBVIRT_PROTOCOL', message: expect.stringMatching(why) }),
  )
  expect(performance.now() - start).toBeLessThan(5_000)
})

test('nesting at the limit is read', () => {
  const inner = XML_DEPTH_MAX - 1
  const text = `<domain>${'<a>'.repeat(inner)}${'</a>'.repeat(inner)}</domain>`
  expect(readXml(text, { root: 'domain' }).name).toBe('domain')
})

test('the code of the error is the caller’s', () => {
  expect(() => readXml('<a/>', { root: 'b', code: 'CONFIG_INVALID' })).toThrow(
    expect.objectContaining({ code: 'CONFIG_INVALID' }),
  )
})

test('a template escapes text and keeps templates', () => {
  const disks = ['a<b', `q"'&`].map((name) => xml`<disk name='${name}'/>`)
  const none: string | null = null
  expect(xml`<backup size='${7n}' ${none}>${disks}</backup>`.text).toBe(
    `<backup size='7' ><disk name='a&lt;b'/><disk name='q&quot;&#39;&amp;'/></backup>`,
  )
})

test('any text that XML can hold comes back as it was', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), (text) => {
      const holds = !/(?![\u{7f}-\u{9f}])[^\P{Cc}\n\r\t]|[\u{fffe}\u{ffff}]/u.test(text) && text.isWellFormed()
      if (!holds) {
        expect(() => escapeXml(text)).toThrow(expect.objectContaining({ code: 'PARAMS_INVALID' }))
        return
      }
      const written = xml`<a v='${text}' w="${text}">${text}</a>`.text
      const read = readXml(written, { root: 'a' })
      expect(attributeOf(read, 'v')).toBe(text)
      expect(attributeOf(read, 'w')).toBe(text)
      expect(textOf(read)).toBe(text.trim())
    }),
  )
})

test('characters that XML cannot hold are refused', () => {
  expect(() => xml`<a>${'\u0000'}</a>`).toThrow(expect.objectContaining({ code: 'PARAMS_INVALID' }))
  expect(() => escapeXml('\uD800')).toThrow(expect.objectContaining({ code: 'PARAMS_INVALID' }))
})
