// Package shardtest checks that every statement that the services give to PostgreSQL names its instance, so that the tables can be
// spread over many servers by it, and that no statement reads across the wall between two instances. It reads the statements as
// PostgreSQL's own parser does.
package shardtest

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"
	pgquery "github.com/wasilibs/go-pgquery"
)

// column is what every table is spread by.
const column = "instance"

// shared are the tables that belong to no instance: who migrated the schema, and for whom, and who does a work for all instances. On a cluster they
// are not spread.
var shared = []string{"goose_db_version", "schema_program", "worker_lease"}

// check gives what is wrong with a statement, sorted; nothing if it does not read or write rows. It is right when
//   - each table, wherever it stands in the statement, has its instance equal to a value that was given, or to the instance of
//     another relation for which that holds;
//   - each inserted row is given its instance, no row's instance is changed, and a conflict is one within an instance;
//   - all values that are given for instances are the same parameter.
//
// A condition counts if it always holds: one of several that are joined by AND, or what all branches of an OR have in common. One
// within a sub-select holds for it alone.
func check(sql string) ([]string, error) {
	tree, err := pgquery.Parse(sql)
	if err != nil {
		return nil, fmt.Errorf("parse statement: %w", err)
	}
	var problems []string
	for _, raw := range tree.GetStmts() {
		c := &checker{problems: map[string]bool{}, given: map[string]bool{}, anchored: map[string]bool{}, sublinks: map[*pg.SubLink][]output{}}
		c.statement(raw.GetStmt(), nil)
		if len(c.given) > 1 {
			c.problem("instances are given by " + strings.Join(slices.Sorted(maps.Keys(c.given)), " and "))
		}
		problems = append(problems, slices.Sorted(maps.Keys(c.problems))...)
	}
	return problems, nil
}

type checker struct {
	problems map[string]bool
	// given are the values that instances of tables are equal to.
	given map[string]bool
	// anchored are the terms (see equalities) that are known to be an instance's that somebody gave.
	anchored map[string]bool
	sublinks map[*pg.SubLink][]output
	last     int
}

func (c *checker) problem(text string) { c.problems[text] = true }

func (c *checker) next(prefix string) string {
	c.last++
	return prefix + strconv.Itoa(c.last)
}

// output is a column of what a statement gives.
type output struct {
	name string
	// bound says that it is an instance that was given.
	bound bool
}

// relation is something with rows in a FROM clause, or the target of a statement.
type relation struct {
	id, alias string
	// table is its name if it is a table of a service; empty otherwise.
	table   string
	columns []output
	// values says that all its columns are values that were given: a function of parameters.
	values bool
}

// term is the name of a column of a relation among equalities; empty if nothing is known about it.
func (c *checker) term(r *relation, name string) string {
	switch {
	case r.table != "":
		if name != column {
			return ""
		}
		return r.id
	case r.values:
		c.anchored["list "+r.id] = true
		return "list " + r.id
	}
	for _, o := range r.columns {
		if o.name == name {
			t := r.id + "." + name
			if o.bound {
				c.anchored[t] = true
			}
			return t
		}
	}
	return ""
}

func (r *relation) has(name string) bool {
	return r.table != "" && name == column || slices.ContainsFunc(r.columns, func(o output) bool { return o.name == name })
}

// level is one SELECT, INSERT, UPDATE or DELETE.
type level struct {
	parent    *level
	ctes      map[string][]output
	relations []*relation
	equal     equalities
	// later are conditions that need all others first.
	later []func()
}

func newLevel(parent *level) *level {
	return &level{parent: parent, ctes: map[string][]output{}, equal: equalities{}}
}

func (l *level) cte(name string) ([]output, bool) {
	for ; l != nil; l = l.parent {
		if found, ok := l.ctes[name]; ok {
			return found, true
		}
	}
	return nil, false
}

// equalities say which terms are equal: a tree a class, by each term's parent.
type equalities map[string]string

func (e equalities) root(t string) string {
	for e[t] != "" {
		t = e[t]
	}
	return t
}

func (e equalities) join(a, b string) {
	if a, b = e.root(a), e.root(b); a != b {
		e[a] = b
	}
}

// anchors are the given values that a term is equal to.
func (c *checker) anchors(e equalities, t string) (found []string) {
	root := e.root(t)
	for a := range c.anchored {
		if e.root(a) == root {
			found = append(found, a)
		}
	}
	return found
}

// outside reports whether t is a column of a relation around the level: it is checked there.
func (l *level) outside(t string) bool {
	for p := l.parent; p != nil; p = p.parent {
		if slices.ContainsFunc(p.relations, func(r *relation) bool { return r.table != "" && r.id == t }) {
			return true
		}
	}
	return false
}

// bound reports whether a term is equal to what was given, or to the instance of a row around the level.
func (c *checker) bound(l *level, e equalities, t string) bool {
	if t == "" {
		return false
	}
	if len(c.anchors(e, t)) > 0 {
		return true
	}
	root := e.root(t)
	for other := range e {
		if e.root(other) == root && l.outside(other) {
			return true
		}
	}
	return l.outside(root) || l.outside(t)
}

// finish looks at every table of a level, when all its conditions are known.
func (c *checker) finish(l *level) {
	for len(l.later) > 0 {
		later := l.later
		l.later = nil
		for _, f := range later {
			f()
		}
	}
	for _, r := range l.relations {
		if r.table == "" {
			continue
		}
		if !c.bound(l, l.equal, r.id) {
			c.problem(r.table + ": its instance is equal to nothing that is given")
		}
		for _, a := range c.anchors(l.equal, r.id) {
			if strings.HasPrefix(a, "$") || strings.HasPrefix(a, "'") || strings.HasPrefix(a, "list") {
				value, _, _ := strings.Cut(a, " ")
				c.given[value] = true
			}
		}
	}
}

// statement checks a statement inside another, or by itself, and says what it gives.
func (c *checker) statement(n *pg.Node, parent *level) []output {
	switch {
	case n.GetSelectStmt() != nil:
		return c.query(n.GetSelectStmt(), parent)
	case n.GetInsertStmt() != nil:
		return c.insert(n.GetInsertStmt(), parent)
	case n.GetUpdateStmt() != nil:
		s := n.GetUpdateStmt()
		l := newLevel(parent)
		c.with(s.GetWithClause(), l)
		c.target(s.GetRelation(), l)
		c.sets(s.GetTargetList(), s.GetRelation())
		return c.change(l, s.GetFromClause(), s.GetWhereClause(), s.GetTargetList(), s.GetReturningList())
	case n.GetDeleteStmt() != nil:
		s := n.GetDeleteStmt()
		l := newLevel(parent)
		c.with(s.GetWithClause(), l)
		c.target(s.GetRelation(), l)
		return c.change(l, s.GetUsingClause(), s.GetWhereClause(), nil, s.GetReturningList())
	case n.GetMergeStmt() != nil, n.GetCopyStmt() != nil, n.GetTruncateStmt() != nil, n.GetCreateTableAsStmt() != nil, n.GetDoStmt() != nil,
		n.GetCallStmt() != nil, n.GetPrepareStmt() != nil, n.GetDeclareCursorStmt() != nil:
		c.problem("a statement of a kind that is not looked into")
	}
	return nil // it neither reads nor writes rows
}

// change is the common part of UPDATE and DELETE.
func (c *checker) change(l *level, from []*pg.Node, where *pg.Node, values, returning []*pg.Node) []output {
	for _, item := range from {
		c.from(item, l)
	}
	c.condition(where, l, l.equal)
	c.finish(l)
	c.within(l, append(slices.Clone(values), where)...)
	return c.outputs(returning, l)
}

func (c *checker) with(w *pg.WithClause, l *level) {
	for _, n := range w.GetCtes() {
		cte := n.GetCommonTableExpr()
		name := cte.GetCtename()
		s := cte.GetCtequery().GetSelectStmt()
		if w.GetRecursive() && s.GetLarg() != nil {
			// What the first half gives, the other half finds in the relation itself.
			first := newLevel(l)
			l.ctes[name] = renamed(c.query(s.GetLarg(), first), cte.GetAliascolnames())
		}
		l.ctes[name] = renamed(c.statement(cte.GetCtequery(), l), cte.GetAliascolnames())
	}
}

func renamed(columns []output, names []*pg.Node) []output {
	columns = slices.Clone(columns)
	for i, n := range names {
		if i < len(columns) {
			columns[i].name = n.GetString_().GetSval()
		}
	}
	return columns
}

func (c *checker) query(s *pg.SelectStmt, parent *level) []output {
	l := newLevel(parent)
	c.with(s.GetWithClause(), l)
	if s.GetOp() != pg.SetOperation_SETOP_NONE {
		return both(c.query(s.GetLarg(), l), c.query(s.GetRarg(), l))
	}
	if len(s.GetValuesLists()) > 0 {
		return c.values(s.GetValuesLists(), l)
	}
	for _, item := range s.GetFromClause() {
		c.from(item, l)
	}
	c.condition(s.GetWhereClause(), l, l.equal)
	c.finish(l)
	c.within(l, s.GetWhereClause(), s.GetHavingClause(), s.GetLimitCount(), s.GetLimitOffset())
	c.within(l, s.GetSortClause()...)
	c.within(l, s.GetGroupClause()...)
	return c.outputs(s.GetTargetList(), l)
}

// both is what a UNION gives: bound where both halves are.
func both(left, right []output) []output {
	for i := range left {
		left[i].bound = left[i].bound && i < len(right) && right[i].bound
	}
	return left
}

// values are the columns of a list of rows.
func (c *checker) values(rows []*pg.Node, l *level) (columns []output) {
	for n, row := range rows {
		for i, v := range row.GetList().GetItems() {
			bound := c.bound(l, l.equal, c.expression(v, l))
			if n == 0 {
				columns = append(columns, output{name: "column" + strconv.Itoa(i+1), bound: bound})
			} else {
				columns[i].bound = columns[i].bound && bound
			}
		}
		c.within(l, row)
	}
	return columns
}

// outputs are the columns of a select list.
func (c *checker) outputs(targets []*pg.Node, l *level) (columns []output) {
	c.within(l, targets...)
	for _, n := range targets {
		t := n.GetResTarget()
		fields := t.GetVal().GetColumnRef().GetFields()
		if len(fields) > 0 && fields[len(fields)-1].GetAStar() != nil {
			for _, r := range l.relations {
				if r.table != "" {
					columns = append(columns, output{column, c.bound(l, l.equal, r.id)})
				}
				for _, o := range r.columns {
					columns = append(columns, output{o.name, c.bound(l, l.equal, c.term(r, o.name))})
				}
			}
			continue
		}
		name := t.GetName()
		if name == "" && len(fields) > 0 {
			name = fields[len(fields)-1].GetString_().GetSval()
		}
		columns = append(columns, output{name, c.bound(l, l.equal, c.expression(t.GetVal(), l))})
	}
	return columns
}

// target adds the table that a statement changes to its level.
func (c *checker) target(v *pg.RangeVar, l *level) *relation {
	r := &relation{id: c.next("r"), alias: alias(v)}
	if !slices.Contains(shared, v.GetRelname()) {
		r.table = v.GetRelname()
	}
	l.relations = append(l.relations, r)
	return r
}

func alias(v *pg.RangeVar) string {
	if a := v.GetAlias().GetAliasname(); a != "" {
		return a
	}
	return v.GetRelname()
}

// sets refuses an assignment to an instance: the row would have to move to another server.
func (c *checker) sets(targets []*pg.Node, v *pg.RangeVar) {
	for _, n := range targets {
		if n.GetResTarget().GetName() == column {
			c.problem(v.GetRelname() + ": its instance is changed")
		}
	}
}

func (c *checker) insert(s *pg.InsertStmt, parent *level) []output {
	l := newLevel(parent)
	c.with(s.GetWithClause(), l)
	rows := c.statement(s.GetSelectStmt(), l)
	r := c.target(s.GetRelation(), l)
	if r.table != "" {
		at := slices.IndexFunc(s.GetCols(), func(n *pg.Node) bool { return n.GetResTarget().GetName() == column })
		switch {
		case at < 0:
			c.problem(r.table + ": a row is inserted without its instance")
		case at >= len(rows) || !rows[at].bound:
			c.problem(r.table + ": a row is inserted with an instance that is not given")
		}
		// What it was given was checked here.
		l.equal.join(r.id, "inserted")
		c.anchored["inserted"] = true
		if v := given(s.GetSelectStmt(), at); v != "" {
			c.given[v] = true
		}
	}
	if conflict := s.GetOnConflictClause(); conflict != nil {
		elements := conflict.GetInfer().GetIndexElems()
		if r.table != "" && conflict.GetInfer() != nil && (len(elements) == 0 || elements[0].GetIndexElem().GetName() != column) {
			c.problem(r.table + ": a conflict does not begin with the instance")
		}
		c.sets(conflict.GetTargetList(), s.GetRelation())
		c.within(l, append(slices.Clone(conflict.GetTargetList()), conflict.GetWhereClause())...)
	}
	return c.outputs(s.GetReturningList(), l)
}

// given is the parameter or constant that stands at a place of the inserted rows.
func given(n *pg.Node, at int) string {
	s := n.GetSelectStmt()
	var v *pg.Node
	switch lists, targets := s.GetValuesLists(), s.GetTargetList(); {
	case at < 0:
	case len(lists) > 0 && at < len(lists[0].GetList().GetItems()):
		v = lists[0].GetList().GetItems()[at]
	case at < len(targets):
		v = targets[at].GetResTarget().GetVal()
	}
	v = bare(v)
	if v.GetParamRef() != nil || v.GetAConst() != nil {
		return literal(v)
	}
	return ""
}
