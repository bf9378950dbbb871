// Growth as a line with its forecast and the limits that it comes near.
import type { StoreGrowth } from '../../../../protocol/forecast.ts'
import { bytesText, DAY_MS, dayText } from '../../parts/format.ts'
import { useWidth } from '../../parts/width.ts'
import { growthOf, type GrowthAsked } from '../../pictures/growth.ts'
import { GROWTH_DAYS } from '../../stores/datastore.ts'
import { datastore as texts } from '../../texts/datastore.ts'

const HEIGHT = 200

/** Room for the figures at the left and above, in pixels. */
const LEFT = 76
const TOP = 14
const RIGHT = 12
const BELOW = 24

const dayOf = (day: number): string => dayText(day * DAY_MS, 'UTC')

const Picture = ({ asked, width }: { asked: GrowthAsked; width: number }) => {
  const picture = growthOf(asked, { width: Math.max(80, width - LEFT - RIGHT), height: HEIGHT - TOP - BELOW })
  const { x, y, firstDay, lastDay } = picture
  const { today } = asked
  const label = texts.growth.label(bytesText(asked.samples[0]?.bytes ?? asked.usedBytes), bytesText(asked.usedBytes))
  return (
    <svg class="growth" width={width} height={HEIGHT} role="img" aria-label={label}>
      <g transform={`translate(${LEFT} ${TOP})`}>
        {picture.ticks.map((bytes) => (
          <g key={bytes}>
            <line class="across" x1={0} x2={x(lastDay)} y1={y(bytes)} y2={y(bytes)} />
            <text class="tick" x={-8} y={y(bytes) + 4} text-anchor="end">
              {bytes === 0 ? '0' : bytesText(bytes)}
            </text>
          </g>
        ))}
        <path class="area" d={picture.area} />
        <path class="line" d={picture.line} />
        <path class="forecast" d={picture.forecast} />
        {picture.limits.map((bytes) => (
          <g key={bytes}>
            <line class="limit" x1={0} x2={x(lastDay)} y1={y(bytes)} y2={y(bytes)} />
            <text class="limit" x={4} y={y(bytes) - 4}>
              {texts.growth.limit(bytesText(bytes))}
            </text>
          </g>
        ))}
        <circle class="now" cx={x(today)} cy={y(asked.usedBytes)} r={4} />
        <text class="tick" x={0} y={HEIGHT - TOP - 6}>
          {dayOf(firstDay)}
        </text>
        {lastDay > today && x(lastDay) - x(today) > 90 ? (
          <text class="tick" x={x(lastDay)} y={HEIGHT - TOP - 6} text-anchor="end">
            {dayOf(lastDay)}
          </text>
        ) : null}
        {x(today) > 130 ? (
          <text class="tick" x={x(today)} y={HEIGHT - TOP - 6} text-anchor="end">
            {texts.growth.today}
          </text>
        ) : null}
      </g>
    </svg>
  )
}

export const GrowthPicture = ({ growth, asked }: { growth: StoreGrowth; asked: GrowthAsked }) => {
  const [box, width] = useWidth<HTMLDivElement>()
  return (
    <section class="panel" aria-labelledby="growth-title">
      <h2 id="growth-title">{texts.growth.title}</h2>
      <p class="quiet">
        {growth.samples.length < 2
          ? texts.growth.few
          : growth.quota === null
            ? texts.growth.saysDisk(GROWTH_DAYS)
            : texts.growth.says(GROWTH_DAYS)}
      </p>
      <div ref={box} class="picture" style={{ minHeight: `${HEIGHT}px` }}>
        {width.value === 0 ? null : <Picture asked={asked} width={width.value} />}
      </div>
    </section>
  )
}
