package shardtest

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCheck(t *testing.T) {
	const (
		unbound = "its instance is equal to nothing that is given"
		unknown = "a statement of a kind that is not looked into"
	)
	for name, c := range map[string]struct {
		sql      string
		problems []string
	}{
		"parameter":      {sql: `SELECT id FROM a WHERE instance = $1 AND id = $2`},
		"other way":      {sql: `SELECT id FROM a WHERE $1::text = a.instance`},
		"constant":       {sql: `SELECT id FROM a WHERE instance = 'x'`},
		"list":           {sql: `SELECT id FROM a WHERE instance = ANY($1::text[])`},
		"in":             {sql: `SELECT id FROM a WHERE instance IN ($1)`},
		"row":            {sql: `SELECT 1 FROM a WHERE (instance, id) = ($1, $2)`},
		"no tables":      {sql: `SELECT now()`},
		"no rows":        {sql: `CREATE TABLE a (id TEXT)`},
		"catalogue":      {sql: `SELECT 1 FROM pg_catalog.pg_tables JOIN pg_locks ON TRUE`},
		"work for all":   {sql: `UPDATE worker_lease SET holder = $1 WHERE instance = '' AND name = $2`},
		"none":           {`SELECT id FROM a`, []string{"a: " + unbound}},
		"another column": {`SELECT id FROM a WHERE id = $1`, []string{"a: " + unbound}},
		"not equal":      {`SELECT id FROM a WHERE instance > $1`, []string{"a: " + unbound}},
		"not":            {`SELECT id FROM a WHERE NOT instance = $1`, []string{"a: " + unbound}},
		"itself":         {`SELECT id FROM a WHERE instance = instance`, []string{"a: " + unbound}},
		"expression":     {`SELECT id FROM a WHERE (instance || '') = $1`, []string{"a: " + unbound}},
		"in a list of another's": {`SELECT id FROM a WHERE instance IN ($1, (SELECT instance FROM b))`,
			[]string{"a: " + unbound, "b: " + unbound}},

		"join":                   {sql: `SELECT 1 FROM a JOIN b ON b.instance = a.instance AND b.id = a.id WHERE a.instance = $1`},
		"join using":             {sql: `SELECT 1 FROM a JOIN b USING (instance, id) WHERE a.instance = $1`},
		"comma":                  {sql: `SELECT 1 FROM a, b WHERE a.instance = $1 AND b.instance = $1`},
		"join without":           {`SELECT 1 FROM a JOIN b ON b.id = a.id WHERE a.instance = $1`, []string{"b: " + unbound}},
		"join without any":       {`SELECT 1 FROM a JOIN b ON b.instance = a.instance`, []string{"a: " + unbound, "b: " + unbound}},
		"cross join":             {`SELECT 1 FROM a CROSS JOIN b WHERE a.instance = $1`, []string{"b: " + unbound}},
		"outer join":             {sql: `SELECT 1 FROM a LEFT JOIN b ON b.instance = a.instance WHERE a.instance = $1`},
		"outer join, own value":  {sql: `SELECT 1 FROM a LEFT JOIN b ON b.instance = $1 WHERE a.instance = $1`},
		"outer join, wrong side": {`SELECT 1 FROM a LEFT JOIN b ON b.instance = a.instance AND a.instance = $1`, []string{"a: " + unbound}},
		"right join":             {sql: `SELECT 1 FROM a RIGHT JOIN b ON a.instance = b.instance WHERE b.instance = $1`},
		"two instances": {`SELECT 1 FROM a JOIN b ON b.id = a.id WHERE a.instance = $1 AND b.instance = $2`,
			[]string{"instances are given by $1 and $2"}},
		"full join": {`SELECT 1 FROM a FULL JOIN b ON a.instance = b.instance AND a.instance = $1`,
			[]string{"a kind of JOIN is not looked into", "a: " + unbound, "b: " + unbound}},
		"natural join": {`SELECT 1 FROM a NATURAL JOIN b WHERE a.instance = $1`, []string{"NATURAL JOIN is not looked into", "b: " + unbound}},

		"or, both":              {sql: `SELECT 1 FROM a WHERE instance = $1 AND x OR instance = $1 AND y`},
		"or beside":             {sql: `SELECT 1 FROM a WHERE instance = $1 AND (x = $2 OR y = $3)`},
		"or, one branch":        {`SELECT 1 FROM a WHERE instance = $1 AND x OR y`, []string{"a: " + unbound}},
		"or, one of two tables": {`SELECT 1 FROM a, b WHERE a.instance = $1 AND (b.instance = $1 OR b.id = $2)`, []string{"b: " + unbound}},
		"or, nested":            {`SELECT 1 FROM a WHERE instance = $1 OR (instance = $1 AND x OR y)`, []string{"a: " + unbound}},
		"or, two instances":     {`SELECT 1 FROM a WHERE instance = $1 OR instance = $2`, []string{"instances are given by $1 and $2"}},

		"exists":         {sql: `SELECT 1 FROM a WHERE instance = $1 AND EXISTS (SELECT 1 FROM b WHERE b.instance = a.instance AND b.id = a.id)`},
		"exists without": {`SELECT 1 FROM a WHERE instance = $1 AND NOT EXISTS (SELECT 1 FROM b WHERE b.id = a.id)`, []string{"b: " + unbound}},
		"exists binds only itself": {`SELECT 1 FROM a WHERE EXISTS (SELECT 1 FROM b WHERE b.instance = $1 AND a.instance = b.instance)`,
			[]string{"a: " + unbound}},
		"instance of the inner table": {`SELECT 1 FROM a WHERE a.instance = $1 AND EXISTS (SELECT 1 FROM b WHERE instance = instance)`,
			[]string{"b: " + unbound}},
		"scalar":          {`SELECT (SELECT max(id) FROM b) FROM a WHERE instance = $1`, []string{"b: " + unbound}},
		"scalar, bound":   {sql: `SELECT (SELECT max(id) FROM b WHERE b.instance = a.instance) FROM a WHERE instance = $1`},
		"in case":         {`SELECT CASE WHEN EXISTS (SELECT 1 FROM b) THEN 1 END FROM a WHERE instance = $1`, []string{"b: " + unbound}},
		"in order by":     {`SELECT 1 FROM a WHERE instance = $1 ORDER BY (SELECT id FROM b)`, []string{"b: " + unbound}},
		"in arguments":    {sql: `SELECT 1 FROM a WHERE instance = $1 AND id = ANY (ARRAY(SELECT jsonb_array_elements_text($2::jsonb)))`},
		"row in":          {sql: `UPDATE a SET x = 1 WHERE (instance, id) IN (SELECT instance, id FROM a WHERE instance = $1 LIMIT 5)`},
		"row in without":  {`UPDATE a SET x = 1 WHERE (instance, id) IN (SELECT instance, id FROM a LIMIT 5)`, []string{"a: " + unbound}},
		"wrong column in": {`SELECT 1 FROM a WHERE instance IN (SELECT id FROM b WHERE instance = $1)`, []string{"a: " + unbound}},

		"derived table":         {sql: `SELECT 1 FROM (SELECT instance, id FROM a WHERE instance = $1) AS d JOIN b ON b.instance = d.instance`},
		"derived table without": {`SELECT 1 FROM (SELECT instance, id FROM a) AS d WHERE d.instance = $1`, []string{"a: " + unbound}},
		"lateral":               {sql: `SELECT 1 FROM a, LATERAL (SELECT 1 FROM b WHERE b.instance = a.instance) AS l WHERE a.instance = $1`},
		"not lateral":           {`SELECT 1 FROM a, (SELECT id FROM b WHERE b.id = $2) AS l WHERE a.instance = $1`, []string{"b: " + unbound}},
		"union":                 {`SELECT 1 FROM a WHERE instance = $1 UNION ALL SELECT 1 FROM b`, []string{"b: " + unbound}},
		"values":                {sql: `SELECT 1 FROM (VALUES ($1, $2), ($3, $4)) AS v CROSS JOIN a WHERE a.instance = v.column1 AND id = v.column2`},
		"records":               {sql: `DELETE FROM a USING jsonb_to_recordset($1::jsonb) AS d (i text, n bigint) WHERE a.instance = d.i AND a.n = d.n`},
		"records of a table": {`SELECT 1 FROM a, jsonb_to_recordset(a.x) AS d (i text) WHERE a.instance = d.i`,
			[]string{"a: " + unbound}},

		"cte": {sql: `WITH due AS (SELECT instance, id FROM a WHERE instance = $1) UPDATE a SET x = 1 FROM due WHERE a.instance = due.instance`},
		"cte without": {`WITH due AS (SELECT instance, id FROM a LIMIT 1) SELECT 1 FROM due WHERE instance = $1`,
			[]string{"a: " + unbound}},
		"cte not joined": {`WITH due AS (SELECT id FROM a WHERE instance = $1) UPDATE b SET x = 1 FROM due WHERE b.id = due.id`,
			[]string{"b: " + unbound}},
		"cte named alike": {sql: `WITH a AS (SELECT 1 AS id) SELECT id FROM a`},
		"cte of changes":  {`WITH gone AS (DELETE FROM a WHERE id = $1 RETURNING instance) SELECT 1 FROM gone`, []string{"a: " + unbound}},
		"cte in a cte":    {`WITH x AS (WITH y AS (SELECT id FROM a) SELECT id FROM y) SELECT 1 FROM x`, []string{"a: " + unbound}},
		"recursive": {sql: `WITH RECURSIVE w AS (SELECT instance, id, next FROM a WHERE instance = $1
			UNION ALL SELECT a.instance, a.id, a.next FROM w JOIN a ON a.instance = w.instance AND a.id = w.next) SELECT id FROM w`},
		"recursive without": {`WITH RECURSIVE w AS (SELECT instance, id, next FROM a WHERE instance = $1
			UNION ALL SELECT a.instance, a.id, a.next FROM w JOIN a ON a.id = w.next) SELECT id FROM w`,
			[]string{"a: " + unbound}},

		"insert":                 {sql: `INSERT INTO a (instance, id) VALUES ($1, $2) ON CONFLICT (instance, id) DO UPDATE SET x = 1 RETURNING id`},
		"insert, any conflict":   {sql: `INSERT INTO a (instance, id) VALUES ($1, $2) ON CONFLICT DO NOTHING`},
		"insert without":         {`INSERT INTO a (id) VALUES ($1)`, []string{"a: a row is inserted without its instance"}},
		"insert without columns": {`INSERT INTO a VALUES ($1, $2)`, []string{"a: a row is inserted without its instance"}},
		"insert of what is found": {sql: `INSERT INTO a (id, instance) SELECT id, instance FROM b WHERE instance = $1
			ON CONFLICT (instance, id) DO NOTHING`},
		"insert of a column": {`INSERT INTO a (instance, id) SELECT id, instance FROM b WHERE instance = $1`,
			[]string{"a: a row is inserted with an instance that is not given"}},
		"insert into another": {`INSERT INTO a (instance, id) SELECT $2, id FROM b WHERE instance = $1`,
			[]string{"instances are given by $1 and $2"}},
		"conflict": {`INSERT INTO a (instance, id) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING`,
			[]string{"a: a conflict does not begin with the instance"}},
		"conflict by name": {`INSERT INTO a (instance, id) VALUES ($1, $2) ON CONFLICT ON CONSTRAINT c DO NOTHING`,
			[]string{"a: a conflict does not begin with the instance"}},
		"conflict moves": {`INSERT INTO a (instance, id) VALUES ($1, $2) ON CONFLICT (instance, id) DO UPDATE SET instance = $3`,
			[]string{"a: its instance is changed"}},
		"conflict with a look": {`INSERT INTO a (instance, id) VALUES ($1, $2) ON CONFLICT (instance, id) DO UPDATE SET x = (SELECT max(x) FROM b)`,
			[]string{"b: " + unbound}},

		"update":         {sql: `UPDATE a SET x = 1 WHERE instance = $1`},
		"update without": {`UPDATE a SET x = 1 WHERE id = $1`, []string{"a: " + unbound}},
		"update moves":   {`UPDATE a SET instance = $2 WHERE instance = $1`, []string{"a: its instance is changed"}},
		"update from":    {`UPDATE a SET x = b.x FROM b WHERE a.instance = $1 AND b.id = a.id`, []string{"b: " + unbound}},
		"update by value of another": {`UPDATE a SET x = (SELECT x FROM b WHERE b.id = a.id) WHERE instance = $1`,
			[]string{"b: " + unbound}},
		"delete":         {sql: `DELETE FROM a WHERE instance = $1 RETURNING id`},
		"delete without": {`DELETE FROM a`, []string{"a: " + unbound}},
		"delete using":   {`DELETE FROM a USING b WHERE a.instance = $1 AND b.id = a.id`, []string{"b: " + unbound}},
		"merge":          {`MERGE INTO a USING b ON a.id = b.id WHEN MATCHED THEN DELETE`, []string{unknown}},
		"copy":           {`COPY a (instance, id) FROM STDIN`, []string{unknown}},
		"truncate":       {`TRUNCATE a`, []string{unknown}},
		"table as":       {`CREATE TABLE c AS SELECT * FROM a`, []string{unknown}},
		"cursor":         {`DECLARE c CURSOR FOR SELECT * FROM a`, []string{unknown}},
		"prepared":       {`PREPARE c AS SELECT * FROM a`, []string{unknown}},
		"two statements": {`SELECT 1; DELETE FROM a`, []string{"a: " + unbound}},

		"or true":       {`SELECT 1 FROM a WHERE instance = $1 OR TRUE`, []string{"a: " + unbound}},
		"case":          {`SELECT 1 FROM a WHERE CASE WHEN instance = $1 THEN TRUE ELSE TRUE END`, []string{"a: " + unbound}},
		"is not true":   {`SELECT 1 FROM a WHERE (instance = $1) IS NOT TRUE`, []string{"a: " + unbound}},
		"having":        {`SELECT instance FROM a GROUP BY instance HAVING instance = $1`, []string{"a: " + unbound}},
		"shadowed":      {`SELECT 1 FROM a AS t WHERE t.instance = $1 AND EXISTS (SELECT 1 FROM b AS t WHERE t.id = $2)`, []string{"b: " + unbound}},
		"twice":         {`UPDATE a SET x = 1 FROM a AS other WHERE other.instance = $1 AND other.id = a.id`, []string{"a: " + unbound}},
		"union of two":  {`SELECT 1 FROM a WHERE instance = $1 UNION SELECT 1 FROM b WHERE instance = $2`, []string{"instances are given by $1 and $2"}},
		"given by rows": {sql: `WITH x AS (SELECT $1 AS instance) SELECT 1 FROM a JOIN x ON a.instance = x.instance`},
	} {
		t.Run(name, func(t *testing.T) {
			problems, err := check(c.sql)
			require.NoError(t, err)
			require.Equal(t, c.problems, problems)
		})
	}
	_, err := check(`SELECT FROM WHERE`)
	require.Error(t, err)
}
