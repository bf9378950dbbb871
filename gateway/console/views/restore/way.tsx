// How disks come to their places: one of the ways, chosen before where to.
import { filter } from '../../frame/router.ts'
import { restore as texts } from '../../texts/restore.ts'
import { wayChosen, WAYS, type Wish } from './wish.ts'

export const ChooseWay = ({ wish }: { wish: Wish }) => (
  <fieldset class="ways">
    <legend>{texts.way}</legend>
    {WAYS.map((way) => {
      const [name, says] = texts.ways[way]
      return (
        <label key={way} class="check">
          <input type="radio" name="way" checked={wish.way === way} onChange={() => filter(wayChosen(wish, way))} />
          <span>
            {name} <small>{says}</small>
          </span>
        </label>
      )
    })}
  </fieldset>
)
