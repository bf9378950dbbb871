// Host headers of requests to a loopback listener.
import { expect, test } from 'vitest'
import { isMeantForLoopback } from '../../../protocol/host/meant-host.ts'

test.each([undefined, '', 'localhost', 'LocalHost:9200', '127.0.0.1', '127.0.0.1:9200', '[::1]', '[::1]:9200'])(
  '%s is meant for it',
  (header) => expect(isMeantForLoopback(header)).toBe(true),
)

test.each(['evil.example', 'evil.example:9200', 'localhost.evil.example', '127.0.0.1.evil.example:1', '0x7f.1', ':x'])(
  '%s is not',
  (header) => expect(isMeantForLoopback(header)).toBe(false),
)
