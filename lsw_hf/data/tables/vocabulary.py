"""Words that tables are filled with, English and Chinese: names, cities, categories, headers."""

from typing import Literal

Language = Literal["en", "zh"]

GIVEN_NAMES: dict[Language, tuple[str, ...]] = {
    "en": tuple(
        "Ada Amir Anna Arne Asha Bela Bruno Carla Cedric Chloe Clara Dana Darius Diego Doris Edith Elena Emil "
        "Enzo Erika Esra Felix Fiona Frida Gavin Greta Hana Hector Helga Hugo Ida Igor Ines Ivan Jana Jasper "
        "Joan Jonas Julia Kamal Karin Kenji Lars Laura Leila Liam Lena Lucas Maja Marco Maria Mila Milan "
        "Nadia Nils Nina Noah Nora Olga Omar Oscar Paula Pedro Petra Priya Quinn Rafael Rania Rosa Ruben Ruth "
        "Sami Sara Selma Simon Sofia Stefan Tara Teo Tessa Tomas Ulla Uma Vera Victor Wanda Wen Xenia Yara "
        "Yusuf Zara Zeno".split()
    ),
    "zh": tuple(
        "伟 芳 娜 敏 静 丽 强 磊 军 洋 勇 艳 杰 娟 涛 明 超 霞 平 刚 桂英 建华 文博 子涵 雨桐 浩然 欣怡 梓轩 "
        "思远 佳琪 晓东 志强 海燕 国庆 春梅 秀兰 天宇 俊熙 若曦 一诺 嘉豪 诗涵 雅婷 宇航 明哲 晨曦 立新 玉兰 "
        "振华 淑珍 家乐 静怡".split()
    ),
}
SURNAMES: dict[Language, tuple[str, ...]] = {
    "en": tuple(
        "Abbott Adler Ahmed Bauer Becker Berg Bianchi Black Bloom Brandt Burke Castro Chen Clarke Costa Cruz "
        "Dahl Diaz Dubois Eklund Ellis Evans Farkas Ferrari Fischer Flores Fox Garcia Gomez Grant Gupta Haas "
        "Hansen Hayes Hoffman Holm Horvath Ivanov Jansen Jones Kaya Keller Khan Kim Klein Kovacs Kumar Lang "
        "Larsen Lee Lind Lopez Maier Marin Martin Meyer Mori Moreno Nagy Nguyen Novak Olsen Ortiz Park Patel "
        "Perez Petrov Popov Quist Ramos Reyes Ricci Rossi Roth Ryan Sato Schmidt Shah Silva Singh Smith Sousa "
        "Stone Suzuki Takeda Torres Urban Vega Vogel Walker Wang Weber West Wolf Young Zhang Ziegler Zimmer".split()
    ),
    "zh": tuple(
        "王 李 张 刘 陈 杨 赵 黄 周 吴 徐 孙 胡 朱 高 林 何 郭 马 罗 梁 宋 郑 谢 韩 唐 冯 于 董 萧 程 曹 袁 "
        "邓 许 傅 沈 曾 彭 吕 欧阳 司马 上官 诸葛".split()
    ),
}
CITIES: dict[Language, tuple[str, ...]] = {
    "en": tuple(
        "Accra Ankara Athens Auckland Austin Bergen Bogota Boston Bristol Brno Cairo Cardiff Chicago Cork "
        "Dakar Delhi Denver Dublin Durban Geneva Genoa Ghent Graz Haifa Hanoi Havana Helsinki Houston Izmir "
        "Kyoto Lagos Lima Lisbon Lyon Madrid Malmo Manila Miami Milan Nairobi Naples Nice Odessa Osaka Oslo "
        "Paris Perth Porto Prague Quito Riga Rome Santiago Seattle Seoul Sofia Sydney Tallinn Tbilisi Tokyo "
        "Toronto Tunis Turin Utrecht Valencia Vienna Vilnius Warsaw Zagreb Zurich".split()
    ),
    "zh": tuple(
        "北京 上海 广州 深圳 天津 重庆 成都 杭州 武汉 西安 苏州 南京 长沙 青岛 郑州 大连 宁波 厦门 昆明 福州 "
        "无锡 合肥 济南 沈阳 贵阳 南宁 太原 南昌 兰州 海口 银川 西宁 桂林 洛阳 扬州 绍兴 珠海 烟台".split()
    ),
}
CATEGORIES: dict[Language, dict[str, tuple[str, ...]]] = {
    "en": {
        "department": tuple("sales finance legal research support logistics design security training quality".split()),
        "status": tuple("open closed pending approved rejected archived".split()),
        "color": tuple("red blue green yellow black white orange purple".split()),
        "material": tuple("steel wood glass copper cotton leather plastic paper rubber stone".split()),
        "region": tuple("north south east west center coast".split()),
        "priority": tuple("low normal high urgent".split()),
    },
    "zh": {
        "部门": tuple("销售部 财务部 法务部 研发部 客服部 物流部 设计部 培训部".split()),
        "状态": tuple("未处理 处理中 已完成 已取消 已归档".split()),
        "颜色": tuple("红色 蓝色 绿色 黄色 黑色 白色".split()),
        "材料": tuple("钢 木材 玻璃 铜 棉布 皮革 塑料 橡胶".split()),
        "地区": tuple("华北 华东 华南 华中 西南 西北 东北".split()),
    },
}
HEADERS: dict[Language, dict[str, tuple[str, ...]]] = {
    "en": {
        "id": ("id", "record id", "order number", "ticket"),
        "name": ("name", "customer", "employee", "contact"),
        "city": ("city", "location", "branch", "destination"),
        "date": ("date", "delivery date", "start date", "last visit"),
        "integer": ("quantity", "stock", "points", "units sold", "working hours"),
        "decimal": ("price", "weight", "rating", "discount", "temperature"),
        "code": ("code", "part number", "serial", "batch"),
        "link": ("supplier", "warehouse", "project"),
    },
    "zh": {
        "id": ("编号", "记录号", "订单号", "工单号"),
        "name": ("姓名", "客户", "员工", "联系人"),
        "city": ("城市", "地点", "网点", "目的地"),
        "date": ("日期", "交货日期", "开始日期", "最近到访"),
        "integer": ("数量", "库存", "积分", "销量", "工时"),
        "decimal": ("价格", "重量", "评分", "折扣", "温度"),
        "code": ("代码", "零件号", "序列号", "批次"),
        "link": ("供应商", "仓库", "项目"),
    },
}
