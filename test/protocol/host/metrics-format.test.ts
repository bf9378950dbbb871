// The two text formats: which of them a request is given, and that the older one says the same.
import { expect, test } from 'vitest'
import { formatFor, OPENMETRICS, PLAIN, plainOf } from '../../../protocol/host/metrics-format.ts'

test('OpenMetrics goes to whoever prefers it, the older text to all others', () => {
  const prometheus =
    'application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1'
  expect(formatFor(prometheus)).toBe(OPENMETRICS)
  expect(formatFor('application/openmetrics-text')).toBe(OPENMETRICS)
  expect(formatFor('Application/OpenMetrics-Text; version=1.0.0; charset=utf-8')).toBe(OPENMETRICS)
  for (const accept of [
    undefined,
    '',
    '*/*',
    'text/html',
    'text/plain',
    'application/openmetrics-text;version=2.0.0,*/*',
    'application/openmetrics-text;q=0.2,text/plain',
    'application/openmetrics-text;q=0',
    'application/openmetrics-text;q=x,text/plain;q=0.1',
    ',;,;;q=,',
  ])
    expect([accept, formatFor(accept)]).toEqual([accept, PLAIN])
})

test('in the older text a counter has its suffix everywhere, and nothing marks the end', () => {
  const open =
    '# HELP a Counted.\n# TYPE a counter\na_total{x="# TYPE b counter"} 1\n# HELP ab B.\n# TYPE ab gauge\nab 2\n# EOF\n'
  expect(plainOf(open)).toBe(
    '# HELP a_total Counted.\n# TYPE a_total counter\na_total{x="# TYPE b counter"} 1\n# HELP ab B.\n# TYPE ab gauge\nab 2\n',
  )
})
