package shardtest

import (
	"maps"
	"strconv"

	pg "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// condition adds to equalities what follows from a condition that holds.
func (c *checker) condition(n *pg.Node, l *level, e equalities) {
	switch {
	case n.GetBoolExpr() != nil:
		switch b := n.GetBoolExpr(); b.GetBoolop() {
		case pg.BoolExprType_AND_EXPR:
			for _, arg := range b.GetArgs() {
				c.condition(arg, l, e)
			}
		case pg.BoolExprType_OR_EXPR:
			branches := func() { c.branches(b.GetArgs(), l, e) }
			l.later = append(l.later, branches)
		default: // NOT tells nothing
		}
	case n.GetAExpr() != nil:
		c.comparison(n.GetAExpr(), l, e)
	case n.GetSubLink() != nil:
		s := n.GetSubLink()
		if s.GetSubLinkType() != pg.SubLinkType_ANY_SUBLINK || len(s.GetOperName()) > 0 && operator(s.GetOperName()) != "=" {
			return
		}
		columns := c.sublink(s, l)
		tested := []*pg.Node{s.GetTestexpr()}
		if row := s.GetTestexpr().GetRowExpr(); row != nil {
			tested = row.GetArgs()
		}
		for i, t := range tested {
			if i < len(columns) && columns[i].bound {
				c.equate(c.expression(t, l), c.fresh("sub-select "), e)
			}
		}
	}
}

// branches takes from an OR what is bound in each of its branches.
func (c *checker) branches(args []*pg.Node, l *level, e equalities) {
	var each []equalities
	for _, arg := range args {
		branch := maps.Clone(e)
		// A level of its own for what the branch puts off.
		own := &level{parent: l.parent, ctes: l.ctes, relations: l.relations, equal: branch}
		c.condition(arg, own, branch)
		for len(own.later) > 0 {
			later := own.later
			own.later = nil
			for _, f := range later {
				f()
			}
		}
		each = append(each, branch)
	}
	for _, r := range l.relations {
		if r.table == "" {
			continue
		}
		in := 0
		for _, branch := range each {
			if c.bound(l, branch, r.id) {
				in++
			}
		}
		if in == len(each) {
			for _, branch := range each {
				for _, anchor := range c.anchors(branch, r.id) {
					c.equate(r.id, anchor, e)
				}
			}
		}
	}
}

func (c *checker) comparison(x *pg.A_Expr, l *level, e equalities) {
	if operator(x.GetName()) != "=" {
		return
	}
	switch x.GetKind() {
	case pg.A_Expr_Kind_AEXPR_OP:
		left, right := x.GetLexpr().GetRowExpr(), x.GetRexpr().GetRowExpr()
		if left == nil || right == nil {
			c.equate(c.expression(x.GetLexpr(), l), c.expression(x.GetRexpr(), l), e)
			return
		}
		for i := range min(len(left.GetArgs()), len(right.GetArgs())) {
			c.equate(c.expression(left.GetArgs()[i], l), c.expression(right.GetArgs()[i], l), e)
		}
	case pg.A_Expr_Kind_AEXPR_IN, pg.A_Expr_Kind_AEXPR_OP_ANY:
		of := []*pg.Node{x.GetRexpr()}
		if list := x.GetRexpr().GetList(); list != nil {
			of = list.GetItems()
		}
		for _, value := range of {
			if !c.bound(l, e, c.expression(value, l)) {
				return
			}
		}
		c.equate(c.expression(x.GetLexpr(), l), c.fresh("list "), e)
	default:
	}
}

func (c *checker) equate(a, b string, e equalities) {
	if a != "" && b != "" {
		e.join(a, b)
	}
}

// fresh is a new term that stands for given values.
func (c *checker) fresh(prefix string) string {
	t := c.next(prefix)
	c.anchored[t] = true
	return t
}

func operator(name []*pg.Node) string {
	if len(name) == 0 {
		return ""
	}
	return name[len(name)-1].GetString_().GetSval()
}

// bare takes casts off an expression.
func bare(n *pg.Node) *pg.Node {
	for {
		switch {
		case n.GetTypeCast() != nil:
			n = n.GetTypeCast().GetArg()
		case n.GetCollateClause() != nil:
			n = n.GetCollateClause().GetArg()
		default:
			return n
		}
	}
}

// literal is the term of a parameter or constant.
func literal(n *pg.Node) string {
	if p := n.GetParamRef(); p != nil {
		return "$" + strconv.Itoa(int(p.GetNumber()))
	}
	return "'" + n.GetAConst().GetSval().GetSval() + "'"
}

// expression is the term of an expression; empty if it has none.
func (c *checker) expression(n *pg.Node, l *level) string {
	n = bare(n)
	switch {
	case n == nil:
		return ""
	case n.GetParamRef() != nil, n.GetAConst() != nil:
		t := literal(n)
		c.anchored[t] = true
		return t
	case n.GetColumnRef() != nil:
		return c.column(n.GetColumnRef(), l)
	case n.GetSubLink() != nil:
		s := n.GetSubLink()
		if columns := c.sublink(s, l); len(columns) == 1 && columns[0].bound {
			return c.fresh("sub-select ")
		}
		return ""
	case mentionsColumn(n):
		return ""
	default: // a function or an operation of parameters
		return c.fresh("list ")
	}
}

// column is the term of a column, looked for from the inside out.
func (c *checker) column(ref *pg.ColumnRef, l *level) string {
	var fields []string
	for _, f := range ref.GetFields() {
		fields = append(fields, f.GetString_().GetSval())
	}
	name := fields[len(fields)-1]
	for ; l != nil; l = l.parent {
		for _, r := range l.relations {
			if len(fields) == 1 && r.has(name) || len(fields) == 2 && r.alias == fields[0] {
				return c.term(r, name)
			}
		}
	}
	return ""
}

// within checks the sub-selects in expressions of a level.
func (c *checker) within(l *level, expressions ...*pg.Node) {
	for _, n := range expressions {
		if n != nil {
			walk(n.ProtoReflect(), func(s *pg.SubLink) { c.sublink(s, l) }, nil)
		}
	}
}

// sublink checks a sub-select in an expression, once.
func (c *checker) sublink(s *pg.SubLink, l *level) []output {
	if known, ok := c.sublinks[s]; ok {
		return known
	}
	c.within(l, s.GetTestexpr())
	columns := c.statement(s.GetSubselect(), l)
	c.sublinks[s] = columns
	return columns
}

// mentionsColumn reports whether an expression has a column in it; what is in a sub-select does not count, if it gives what is given.
func mentionsColumn(n *pg.Node) bool {
	found := false
	walk(n.ProtoReflect(), func(*pg.SubLink) { found = true }, func(*pg.ColumnRef) { found = true })
	return found
}

// walk visits the sub-selects and columns below a node, but not those within the sub-selects.
func walk(m protoreflect.Message, sublink func(*pg.SubLink), column func(*pg.ColumnRef)) {
	switch found := m.Interface().(type) {
	case *pg.SubLink:
		sublink(found)
		return
	case *pg.ColumnRef:
		if column != nil {
			column(found)
		}
		return
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.Kind() != protoreflect.MessageKind:
		case f.IsList():
			for i := range v.List().Len() {
				walk(v.List().Get(i).Message(), sublink, column)
			}
		default:
			walk(v.Message(), sublink, column)
		}
		return true
	})
}
