// A short table that is as long as its rows, for settings of which there are few.
import type { Column } from '../../parts/table.tsx'

interface RowsProps<Row> {
  readonly caption: string
  readonly rows: readonly Row[]
  readonly columns: readonly Column<Row>[]
  readonly keyOf: (row: Row) => string
}

const classOf = <Row,>({ isNumber, isExtra }: Column<Row>): string =>
  `${isNumber === true ? 'number' : ''} ${isExtra === true ? 'extra' : ''}`

export const Rows = <Row,>({ caption, rows, columns, keyOf }: RowsProps<Row>) => (
  <div class="table short" tabIndex={0} role="region" aria-label={caption}>
    <table>
      <caption>{caption}</caption>
      <thead>
        <tr>
          {columns.map((column) => (
            <th key={column.name} scope="col" class={classOf(column)}>
              {column.title}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {rows.map((row) => (
          <tr key={keyOf(row)}>
            {columns.map((column) => (
              <td key={column.name} class={classOf(column)}>
                {column.cell(row)}
              </td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  </div>
)
