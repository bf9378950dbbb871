// The curve of a job's rates: what it went through, and what of that it sent.
import { rateText } from '../../parts/format.ts'
import { curveOf, mostOf, ratesOf, type Sample } from '../../pictures/rate.ts'
import { running as texts } from '../../texts/running.ts'

const WIDTH = 320
const HEIGHT = 56

export const Curve = ({ samples }: { samples: readonly Sample[] }) => {
  const rates = ratesOf(samples)
  const most = mostOf(rates)
  const box = { width: WIDTH, height: HEIGHT, most }
  const last = rates.at(-1)
  return (
    <figure class="curve">
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={texts.curve(rateText(most))}>
        <polyline class="done" points={curveOf(rates, 'done', box)} />
        <polyline class="sent" points={curveOf(rates, 'sent', box)} />
      </svg>
      <figcaption>
        <span class="key done" aria-hidden="true" /> {texts.curveDone} {rateText(last?.done ?? 0)}{' '}
        <span class="key sent" aria-hidden="true" /> {texts.curveSent} {rateText(last?.sent ?? 0)}
      </figcaption>
    </figure>
  )
}
