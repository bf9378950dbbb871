// A point by its id: gone only where the gateway says so, and only of its own machine.
import { signal } from '@preact/signals'
import { expect, test } from 'vitest'
import type { Link } from '../../../../gateway/console/net/link.ts'
import { pointOf } from '../../../../gateway/console/stores/points.ts'
import { VarveError } from '../../../../protocol/errors.ts'

const linkOf = (call: () => Promise<unknown>): Link =>
  ({ state: signal({ kind: 'open' }), openings: signal(1), call }) as unknown as Link

test('a point is gone where the gateway does not find it or it is another machine’s, not where it cannot be asked', async () => {
  const point = { id: 'p1', machine: 'db1' }
  const there = pointOf(
    linkOf(() => Promise.resolve({ point })),
    'db1',
    'p1',
  )
  await there.refresh()
  expect(there.value.value).toEqual({ point })
  const other = pointOf(
    linkOf(() => Promise.resolve({ point })),
    'db2',
    'p1',
  )
  await other.refresh()
  expect(other.value.value).toEqual({ point: null })
  const gone = pointOf(
    linkOf(() => Promise.reject(new VarveError('NOT_FOUND', 'no such point'))),
    'db1',
    'p1',
  )
  await gone.refresh()
  expect(gone.value.value).toEqual({ point: null })
  const away = pointOf(
    linkOf(() => Promise.reject(new VarveError('CONNECTION_LOST', 'away'))),
    'db1',
    'p1',
  )
  await away.refresh()
  expect([away.value.value, away.error.value?.code]).toEqual([null, 'CONNECTION_LOST'])
})
