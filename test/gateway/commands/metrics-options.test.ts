// The options of serve that are about monitoring: a token that cannot be guessed, and nothing that others reach or read.
import { writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import {
  METRICS_LISTEN_EXAMPLE,
  metricsListenOf,
  otlpEndpointOf,
  readMetricsToken,
} from '../../../gateway/commands/metrics-options.ts'
import { tempFolder } from '../../support/temp.ts'

test('the token is what the file holds, without the line’s end', async () => {
  await using temp = await tempFolder()
  const file = temp.join('token')
  await writeFile(file, 'abcdefghijklmnop\n')
  expect([await readMetricsToken(undefined), await readMetricsToken(file)]).toEqual([null, 'abcdefghijklmnop'])
  for (const text of ['', 'short', 'two words are none', 'x'.repeat(1025), 'ümlautümlautümlaut']) {
    await writeFile(file, text)
    await expect(readMetricsToken(file)).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
  }
  await expect(readMetricsToken(temp.join('none'))).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
    message: expect.stringContaining('it does not exist') as string,
  })
})

test('the own listener is on loopback', () => {
  expect(metricsListenOf(undefined)).toBeNull()
  expect(metricsListenOf(METRICS_LISTEN_EXAMPLE)).toEqual({ host: '127.0.0.1', port: 9470 })
  expect(metricsListenOf('[::1]:1')).toEqual({ host: '::1', port: 1 })
  for (const text of ['0.0.0.0:9470', '[::]:9470', '10.0.0.1:9470', '9470', 'backup.example:9470'])
    expect(() => metricsListenOf(text)).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }))
})

test('a collector is on this machine, or reached with TLS', () => {
  expect(otlpEndpointOf(undefined, false)).toBeNull()
  for (const text of [
    'http://127.0.0.1:4318/',
    'http://localhost:4318/',
    'http://[::1]:1/',
    'https://otlp.example/v1/traces',
  ])
    expect(otlpEndpointOf(text, false)).toBe(text)
  expect(otlpEndpointOf('http://otlp.example/', true)).toBe('http://otlp.example/')
  for (const text of ['http://otlp.example/', '127.0.0.1:4318', 'ftp://127.0.0.1/', 'https://a:b@otlp.example/', ''])
    expect(() => otlpEndpointOf(text, false)).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }))
})
