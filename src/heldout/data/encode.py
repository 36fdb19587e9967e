from __future__ import annotations
import numpy as np
from sklearn.base import BaseEstimator
class Encoder(BaseEstimator):
    def fit(self, table, y=None):
        self.columns_=list(table.names); self.m_={}; self.lv_={}
        for c in table.columns:
            s=table.frame[c.name]
            if c.kind=="number": self.m_[c.name]=(s.mean() or 0, s.std() or 1)
            elif c.kind=="category": self.lv_[c.name]=sorted(s.drop_nulls().unique().to_list())[:30]
        self.n_features_out_=self.transform(table).shape[1]
        return self
    def transform(self, table):
        cols=[np.zeros(len(table))]
        for c in table.columns:
            s=table.frame[c.name]
            if c.kind=="number":
                m,sd=self.m_[c.name]; cols.append(((s.fill_null(m)-m)/sd).to_numpy())
            elif c.kind=="category":
                for l in self.lv_[c.name]: cols.append((s==l).fill_null(False).cast(float).to_numpy())
            elif c.kind=="boolean": cols.append(s.fill_null(False).cast(float).to_numpy())
        return np.stack(cols,axis=1)
    def to_state(self): return {}
