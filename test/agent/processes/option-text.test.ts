// QEMU's option syntax: both forms give the same keys, and nothing hostile costs more than its length.
import { expect, test } from 'vitest'
import { below, parseOptions } from '../../../agent/processes/option-text.ts'

const keys = (text: string, implied: string | null = null): object => Object.fromEntries(parseOptions(text, implied))

test('keys, an implied first one, switches, and commas that are doubled', () => {
  expect(keys('guest=a,debug-threads=on', 'guest')).toEqual({ guest: 'a', 'debug-threads': 'on' })
  expect(keys('db1,process=x', 'guest')).toEqual({ guest: 'db1', process: 'x' })
  expect(keys('/run/a,,b.sock,server,nowait', 'path')).toEqual({ path: '/run/a,b.sock', server: 'on', wait: 'off' })
  expect(keys('a==b,,,c=')).toEqual({ a: '=b,', c: '' })
  expect(keys('', 'path')).toEqual({ path: '' })
})

test('JSON gives the same flat keys', () => {
  const json = {
    driver: 'qcow2',
    'node-name': 'a',
    'read-only': true,
    file: { driver: 'file', filename: '/a,b' },
    x: [{ y: 1 }],
  }
  expect(keys(JSON.stringify(json))).toEqual({
    driver: 'qcow2',
    'node-name': 'a',
    'read-only': 'on',
    'file.driver': 'file',
    'file.filename': '/a,b',
    'x.0.y': '1',
  })
  expect(keys('{"driver":')).toEqual({})
  expect(keys('{}')).toEqual({})
})

test('the options below a key', () => {
  const options = parseOptions('file.driver=file,file.filename=/a,filename=b')
  expect(Object.fromEntries(below(options, 'file'))).toEqual({ driver: 'file', filename: '/a' })
})

test('a text that is only brackets or only commas ends soon', () => {
  expect(keys(`{"a":${'['.repeat(100_000)}${']'.repeat(100_000)}}`)).toEqual({})
  expect(parseOptions('a=1,'.repeat(100_000)).size).toBe(1)
  expect(parseOptions(Array.from({ length: 5000 }, (_, at) => `k${at}=1`).join(',')).size).toBeLessThanOrEqual(1025)
})
