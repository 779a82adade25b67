import ApusIR
import ApusTIR

/// `constant + sum(coef * atom)`: the normal form of an index expression. Terms are sorted by atom number, no
/// coefficient is 0. Atoms are numbered by an `Analyzer`, which makes equality of forms equality of arrays.
struct LinearForm: Hashable {
    struct Term: Hashable {
        var atom: Int
        var coef: Int
    }
    var constant: Int
    var terms: [Term]

    init(_ constant: Int) {
        self.constant = constant
        self.terms = []
    }
    init(atom: Int) {
        self.constant = 0
        self.terms = [Term(atom: atom, coef: 1)]
    }
    init(constant: Int, terms: [Term]) {
        self.constant = constant
        self.terms = terms
    }

    var asConstant: Int? { terms.isEmpty ? constant : nil }
    /// The atom, if the form is just one.
    var asAtom: Int? { terms.count == 1 && constant == 0 && terms[0].coef == 1 ? terms[0].atom : nil }

    func coefficient(of atom: Int) -> Int {
        for t in terms where t.atom == atom { return t.coef }
        return 0
    }
    func removing(_ atom: Int) -> LinearForm {
        LinearForm(constant: constant, terms: terms.filter { $0.atom != atom })
    }

    /// nil on overflow.
    func adding(_ o: LinearForm, times k: Int = 1) -> LinearForm? {
        if k == 0 { return self }
        if o.terms.isEmpty && k == 1 && o.constant == 0 { return self }
        if terms.isEmpty && constant == 0 && k == 1 { return o }
        let scaled = o.constant.multipliedReportingOverflow(by: k)
        let c = constant.addingReportingOverflow(scaled.partialValue)
        if scaled.overflow || c.overflow { return nil }
        // What only changes the constant shares the terms.
        if o.terms.isEmpty { return LinearForm(constant: c.partialValue, terms: terms) }
        if terms.isEmpty && k == 1 { return LinearForm(constant: c.partialValue, terms: o.terms) }
        var out: [Term] = []
        out.reserveCapacity(terms.count + o.terms.count)
        var i = 0
        var j = 0
        while i < terms.count || j < o.terms.count {
            if j >= o.terms.count || (i < terms.count && terms[i].atom < o.terms[j].atom) {
                out.append(terms[i])
                i += 1
                continue
            }
            let s = o.terms[j].coef.multipliedReportingOverflow(by: k)
            if s.overflow { return nil }
            if i < terms.count && terms[i].atom == o.terms[j].atom {
                let r = terms[i].coef.addingReportingOverflow(s.partialValue)
                if r.overflow { return nil }
                if r.partialValue != 0 { out.append(Term(atom: terms[i].atom, coef: r.partialValue)) }
                i += 1
            } else {
                out.append(Term(atom: o.terms[j].atom, coef: s.partialValue))
            }
            j += 1
        }
        return LinearForm(constant: c.partialValue, terms: out)
    }

    /// nil on overflow.
    func scaled(by k: Int) -> LinearForm? {
        if k == 1 { return self }
        return LinearForm(0).adding(self, times: k)
    }

    /// Exact division of every coefficient and the constant; the caller has made sure that it is exact.
    func dividedExactly(by c: Int) -> LinearForm {
        LinearForm(constant: constant / c, terms: terms.map { Term(atom: $0.atom, coef: $0.coef / c) })
    }

    var coefficientGCD: Int {
        var g = 0
        for t in terms { g = gcd(g, t.coef) }
        return g
    }
}

/// What a term of a form multiplies: a variable, or something that is not linear.
enum AtomKind {
    case variable(Var)
    /// Factors sorted by number, at least two; none is itself a product.
    case product([Int])
    case floorDiv(LinearForm, LinearForm)
    case floorMod(LinearForm, LinearForm)
    case min(LinearForm, LinearForm)
    case max(LinearForm, LinearForm)
    case opaque
}

struct Atom {
    let kind: AtomKind
    /// The atom as an expression.
    let expr: PrimExpr
}

enum AtomKey: Hashable {
    case variable(ObjectIdentifier)
    case product([Int])
    case floorDiv(LinearForm, LinearForm)
    case floorMod(LinearForm, LinearForm)
    case min(LinearForm, LinearForm)
    case max(LinearForm, LinearForm)
}
