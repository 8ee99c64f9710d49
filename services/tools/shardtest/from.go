package shardtest

import (
	"maps"
	"slices"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// from adds what an item of a FROM clause stands for to a level, and returns it.
func (c *checker) from(n *pg.Node, l *level) []*relation {
	switch {
	case n.GetRangeVar() != nil:
		return []*relation{c.table(n.GetRangeVar(), l)}
	case n.GetRangeSubselect() != nil:
		s := n.GetRangeSubselect()
		around := l
		if !s.GetLateral() { // it does not see its neighbours
			around = &level{parent: l.parent, ctes: l.ctes, equal: equalities{}}
		}
		r := &relation{id: c.next("r"), alias: s.GetAlias().GetAliasname()}
		r.columns = renamed(c.statement(s.GetSubquery(), around), s.GetAlias().GetColnames())
		l.relations = append(l.relations, r)
		return []*relation{r}
	case n.GetRangeFunction() != nil:
		f := n.GetRangeFunction()
		r := &relation{id: c.next("r"), alias: f.GetAlias().GetAliasname(), values: true}
		for _, call := range f.GetFunctions() {
			r.values = r.values && !mentionsColumn(call)
		}
		c.within(l, f.GetFunctions()...)
		l.relations = append(l.relations, r)
		return []*relation{r}
	case n.GetJoinExpr() != nil:
		return c.join(n.GetJoinExpr(), l)
	}
	c.problem("a FROM clause has something that is not looked into")
	return nil
}

func (c *checker) table(v *pg.RangeVar, l *level) *relation {
	r := &relation{id: c.next("r"), alias: alias(v)}
	columns, ok := l.cte(v.GetRelname())
	switch {
	case ok && v.GetSchemaname() == "":
		r.columns = renamed(columns, v.GetAlias().GetColnames())
	case catalogue(v), slices.Contains(shared, v.GetRelname()):
	default:
		r.table = v.GetRelname()
	}
	l.relations = append(l.relations, r)
	return r
}

// catalogue reports whether a table is one of the server's own.
func catalogue(v *pg.RangeVar) bool {
	return strings.HasPrefix(v.GetRelname(), "pg_") || strings.HasPrefix(v.GetRelname(), "sqlite_") || v.GetSchemaname() == "information_schema"
}

func (c *checker) join(j *pg.JoinExpr, l *level) []*relation {
	left := c.from(j.GetLarg(), l)
	right := c.from(j.GetRarg(), l)
	all := append(slices.Clone(left), right...)
	conditions := func(e equalities) {
		c.condition(j.GetQuals(), l, e)
		for _, n := range j.GetUsingClause() {
			name := n.GetString_().GetSval()
			if a, b := c.named(left, name), c.named(right, name); a != "" && b != "" {
				e.join(a, b)
			}
		}
	}
	c.within(l, j.GetQuals())
	switch {
	case j.GetIsNatural():
		c.problem("NATURAL JOIN is not looked into")
	case j.GetJointype() == pg.JoinType_JOIN_INNER:
		conditions(l.equal)
	case j.GetJointype() == pg.JoinType_JOIN_LEFT:
		l.later = append(l.later, func() { c.outer(l, right, conditions) })
	case j.GetJointype() == pg.JoinType_JOIN_RIGHT:
		l.later = append(l.later, func() { c.outer(l, left, conditions) })
	default:
		c.problem("a kind of JOIN is not looked into")
	}
	return all
}

// named is the column of one of the relations.
func (c *checker) named(relations []*relation, name string) string {
	for _, r := range relations {
		if r.has(name) {
			return c.term(r, name)
		}
	}
	return ""
}

// outer takes the conditions of an outer join into account: they hold for the side whose rows may be missing, not for the other.
func (c *checker) outer(l *level, missing []*relation, conditions func(equalities)) {
	e := maps.Clone(l.equal)
	conditions(e)
	for _, r := range missing {
		if r.table == "" {
			continue
		}
		if c.bound(l, e, r.id) {
			c.adopt(l, e, r.id)
		}
	}
}

// adopt makes a term of a level equal to what it is equal to in a branch.
func (c *checker) adopt(l *level, e equalities, t string) {
	if anchors := c.anchors(e, t); len(anchors) > 0 {
		l.equal.join(t, slices.Min(anchors))
		return
	}
	known := c.next("row around ")
	c.anchored[known] = true
	l.equal.join(t, known)
}
